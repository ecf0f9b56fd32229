//! Aggregates by cells, by genes, or by what is known of them, in arrays.
//!
//! Cell and gene ids are dense integers, so that the group of a row is found by
//! looking up two arrays, and a join with `cells` or `genes` is such a look-up.
//! No hash table is built over the rows of `expression`, and memory is that of
//! the groups. Where the sums of whole cells or genes are all that is asked for,
//! the dataset knows them already.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, ToDFSchema};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::{Aggregate, Cast, Expr, ExprSchemable, LogicalPlan};

use super::accumulator::Accumulator;
use super::axis::Axis;
use super::measure::{Kind, Measure, call};
use super::operator::DenseScan;
use super::star::{Side, star};
use crate::query::sources::expression::{Expression, Wanted};
use crate::query::sources::materialised::{numbered, provided};

/// Bytes that the groups may take in all threads together.
const ROOM: usize = 2 << 30;

/// The aggregate as one operator, or as it was.
pub(crate) async fn by_axes(aggregate: Aggregate, state: &SessionState) -> Result<LogicalPlan> {
    let scan = dense(&aggregate, state).await?;
    let plan = LogicalPlan::Aggregate(aggregate);
    match scan {
        Some(scan) => provided(&plan, Arc::new(scan)),
        None => Ok(plan),
    }
}

async fn dense(aggregate: &Aggregate, state: &SessionState) -> Result<Option<DenseScan>> {
    let grouping_sets = aggregate
        .group_expr
        .iter()
        .any(|e| matches!(e, Expr::GroupingSet(_)));
    let calls: Option<Vec<(Kind, &AggregateFunctionParams)>> =
        aggregate.aggr_expr.iter().map(call).collect();
    let (Some(calls), false) = (calls, grouping_sets) else {
        return Ok(None);
    };
    let Some(star) = star(&aggregate.input, state).await? else {
        return Ok(None);
    };
    let schema = aggregate.input.schema();
    let by: Vec<Expr> = aggregate
        .group_expr
        .iter()
        .map(|e| star.translate(e, schema))
        .collect::<Result<_>>()?;
    let Some(sides) = by
        .iter()
        .map(|e| star.axis(e))
        .collect::<Option<Vec<Side>>>()
    else {
        return Ok(None);
    };
    let translate = |expr: &Expr| star.translate(expr, schema);
    let mut arguments = vec![];
    for (_, params) in &calls {
        let argument = match params.args.first() {
            None | Some(Expr::Literal(..)) => None,
            Some(expr) => Some(as_stored(translate(expr)?)),
        };
        let filter = params.filter.as_deref().map(translate).transpose()?;
        arguments.push((argument, filter));
    }
    let parts = arguments
        .iter()
        .flat_map(|(argument, filter)| argument.iter().chain(filter));
    let used: BTreeSet<String> = parts
        .chain(&star.filters)
        .flat_map(Expr::column_refs)
        .map(|column| column.name.clone())
        .collect();
    let parts = arguments
        .iter()
        .flat_map(|(argument, filter)| argument.iter().chain(filter));
    if parts.chain(&star.filters).chain(&by).any(has_subquery) {
        return Ok(None);
    }
    let arrow = star.schema(&used)?;
    let names: DFSchema = Arc::clone(&arrow).to_dfschema()?;
    let mut measures = vec![];
    for ((kind, _), (argument, filter)) in calls.iter().zip(&arguments) {
        let physical = |expr: &Expr| state.create_physical_expr(expr.clone(), &names);
        let dtype = argument.as_ref().map(|e| e.get_type(&names)).transpose()?;
        let of_number = |dtype: &DataType| {
            dtype.is_integer() || matches!(dtype, DataType::Float32 | DataType::Float64)
        };
        if *kind != Kind::Count && !dtype.as_ref().is_some_and(of_number) {
            return Ok(None);
        }
        measures.push(Measure {
            kind: *kind,
            of_value: argument.as_ref() == Some(&Expr::Column(Column::new_unqualified("#v"))),
            argument: argument.as_ref().map(physical).transpose()?,
            filter: filter.as_ref().map(physical).transpose()?,
            integer: dtype.is_none_or(|dtype| dtype.is_integer()),
        });
    }
    let of = |side: Side| {
        let by: Vec<&Expr> = by
            .iter()
            .zip(&sides)
            .filter(|(_, s)| **s == side)
            .map(|(e, _)| e)
            .collect();
        Axis::of(&star, side, &by, &used, state)
    };
    let (cells, genes) = (of(Side::Cells)?, of(Side::Genes)?);
    let Some(groups) = cells.groups.checked_mul(genes.groups) else {
        return Ok(None);
    };
    let threads = state.config().target_partitions();
    let each: usize = measures.iter().map(Accumulator::size).sum::<usize>() + size_of::<u64>();
    if groups.saturating_mul(each).saturating_mul(threads) > ROOM || groups >= u32::MAX as usize {
        return Ok(None);
    }
    let filters = star
        .filters
        .iter()
        .map(|f| state.create_physical_expr(f.clone(), &names));
    let filters = filters.collect::<Result<Vec<_>>>()?;
    let wanted = star.fact.wanted.and(&Wanted {
        cells: cells.alive(),
        genes: genes.alive(),
    });
    let fact = Expression {
        wanted,
        ..star.fact
    };
    let schema = numbered(&LogicalPlan::Aggregate(aggregate.clone()));
    DenseScan::plan(
        fact, cells, genes, sides, measures, filters, arrow, schema, threads,
    )
    .await
    .map(Some)
}

fn has_subquery(expr: &Expr) -> bool {
    let found = expr.exists(|expr| {
        let set = matches!(expr, Expr::SetComparison(_) | Expr::InSubquery(_));
        Ok(set || matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_)))
    });
    found.unwrap_or(true)
}

/// The stored value, if `expr` is no more than a wider number of it: sums are
/// made in wide numbers anyway.
fn as_stored(expr: Expr) -> Expr {
    let value = Expr::Column(Column::new_unqualified("#v"));
    match &expr {
        Expr::Cast(Cast { expr: inner, field })
            if **inner == value
                && matches!(
                    field.data_type(),
                    DataType::Int64 | DataType::UInt64 | DataType::Float64
                ) =>
        {
            value
        }
        _ => expr,
    }
}
