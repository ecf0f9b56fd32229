//! Aggregates by cells, by genes, or by their columns, in arrays.
//!
//! Cell and gene ids are dense integers. So the group of a row is found by a lookup
//! in two arrays, and a join with `cells` or `genes` is such a lookup, too. There
//! is no hash table over the rows of `expression`, and memory is proportional to
//! the number of groups. If a query needs only the sums of whole cells or genes,
//! they are read from the dataset.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Column, DFSchema, ToDFSchema};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Aggregate, Cast, Expr, LogicalPlan};

use super::accumulator::Accumulator;
use super::aggregate_functions::{Call, Measure};
use super::aggregation::Aggregation;
use super::group_of_id::Axis;
use super::operator::DenseScan;
use super::star_join::{Side, Star, star};
use super::stored_sums::{of_stored_sums, stored_sums};
use crate::query::sources::expression::{CELL, Expression, ExpressionScan, GENE, VALUE, Wanted};
use crate::query::sources::materialised::{numbered, provided};
use crate::query::sources::plan_facts::has_subquery;

/// Maximum bytes of the groups of all parts that are read at the same time.
const ROOM: usize = 2 << 30;
/// Parts in which values are read, at most.
const PARTS: u64 = 64;

/// Replaces `aggregate` by one operator, or returns it unchanged.
pub(crate) async fn by_axes(aggregate: Aggregate, state: &SessionState) -> Result<LogicalPlan> {
    let scan = dense(&aggregate, state).await?;
    let plan = LogicalPlan::Aggregate(aggregate);
    match scan {
        Some(scan) => provided(&plan, Arc::new(scan)),
        None => Ok(plan),
    }
}

/// What the planner found about an aggregate that the operator supports.
struct Found<'a> {
    star: Star,
    /// The group columns, and the axis of each.
    by: Vec<(Expr, Side)>,
    calls: Vec<Call>,
    state: &'a SessionState,
}

async fn dense(aggregate: &Aggregate, state: &SessionState) -> Result<Option<DenseScan>> {
    let Some(found) = Found::of(aggregate, state).await? else {
        return Ok(None);
    };
    let used = found.used();
    let arguments = found.star.schema(&used)?;
    let Some(measures) = found.measures(&arguments)? else {
        return Ok(None);
    };
    let (cells, genes) = (
        found.axis(Side::Cells, &used).await?,
        found.axis(Side::Genes, &used).await?,
    );
    let Some(room) = room(&cells, &genes, &measures) else {
        return Ok(None);
    };
    let names: DFSchema = Arc::clone(&arguments).to_dfschema()?;
    let filters = found.star.filters.iter();
    let filters = filters.map(|filter| state.create_physical_expr(filter.clone(), &names));
    let filters = filters.collect::<Result<Vec<_>>>()?;
    let costly = measures.iter().any(Measure::is_costly) || !filters.is_empty();
    let count_equal = costly && !found.parts().any(Expr::is_volatile);
    let wanted = found.star.fact.wanted.and(&Wanted {
        cells: cells.alive(),
        genes: genes.alive(),
    });
    let fact = Expression {
        wanted,
        ..found.star.fact
    };
    let sums = match filters.is_empty() && measures.iter().all(of_stored_sums) {
        true => stored_sums(&fact, &cells, &genes, &measures).await?,
        false => None,
    };
    let parts = parts(&fact, cells.groups * genes.groups);
    let scan = scan(&fact, &cells, &genes, &arguments, parts).await?;
    Ok(Some(DenseScan(Arc::new(Aggregation {
        fact,
        cells,
        genes,
        sides: found.by.into_iter().map(|(_, side)| side).collect(),
        measures,
        filters,
        arguments,
        schema: numbered(&LogicalPlan::Aggregate(aggregate.clone())),
        count_equal,
        sums,
        scan,
        at_once: state.config().target_partitions().min(room),
        taken: OnceLock::new(),
    }))))
}

impl<'a> Found<'a> {
    async fn of(aggregate: &Aggregate, state: &'a SessionState) -> Result<Option<Self>> {
        let mut keys = aggregate.group_expr.iter();
        if keys.any(|key| matches!(key, Expr::GroupingSet(_))) {
            return Ok(None);
        }
        let Some(star) = star(&aggregate.input, state).await? else {
            return Ok(None);
        };
        let translate = |expr: &Expr| star.translate(expr, aggregate.input.schema());
        let by = aggregate.group_expr.iter().map(translate);
        let by = by.collect::<Result<Vec<Expr>>>()?;
        let by = by.into_iter().map(|key| {
            let side = star.axis(&key)?;
            Some((key, side))
        });
        let Some(by) = by.collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let stored = |expr: &Expr| translate(expr).map(as_stored);
        let calls = aggregate.aggr_expr.iter().map(|e| Call::of(e, stored));
        let Some(calls) = calls.collect::<Result<Option<Vec<_>>>>()? else {
            return Ok(None);
        };
        let found = Self {
            star,
            by,
            calls,
            state,
        };
        let keys = found.by.iter().map(|(key, _)| key);
        let any_subquery = found.parts().chain(keys).any(has_subquery);
        Ok((!any_subquery).then_some(found))
    }

    /// All expressions that are computed from the rows.
    fn parts(&self) -> impl Iterator<Item = &Expr> {
        let calls = self.calls.iter();
        let arguments = calls.flat_map(|call| call.argument.iter().chain(&call.filter));
        arguments.chain(&self.star.filters)
    }

    /// The columns of the star join that these expressions use.
    fn used(&self) -> BTreeSet<String> {
        let columns = self.parts().flat_map(Expr::column_refs);
        columns.map(|column| column.name.clone()).collect()
    }

    /// The functions over columns of a schema; `None` if an argument is not a number.
    fn measures(&self, schema: &SchemaRef) -> Result<Option<Vec<Measure>>> {
        let names: DFSchema = Arc::clone(schema).to_dfschema()?;
        let stored = Some(Expr::Column(Column::new_unqualified("#v")));
        let measures = self.calls.iter().map(|call| {
            let measure = call.measure(&names, self.state)?;
            Ok(measure.map(|measure| Measure {
                of_value: call.argument == stored,
                ..measure
            }))
        });
        measures.collect()
    }

    async fn axis(&self, side: Side, used: &BTreeSet<String>) -> Result<Axis> {
        let by: Vec<&Expr> = self
            .by
            .iter()
            .filter(|(_, of)| *of == side)
            .map(|(key, _)| key)
            .collect();
        Axis::of(&self.star, side, &by, used, self.state).await
    }
}

/// For how many parts the groups fit into memory; `None` if they are too many.
fn room(cells: &Axis, genes: &Axis, measures: &[Measure]) -> Option<usize> {
    let each: usize = measures.iter().map(Accumulator::size).sum::<usize>() + size_of::<u64>();
    let groups = cells.groups.checked_mul(genes.groups)?;
    let room = ROOM / groups.saturating_mul(each).max(1);
    (room >= 2 && groups < u32::MAX as usize).then_some(room)
}

/// The number of parts in which values are read. They are large enough that it takes
/// longer to read one than to add its groups to those of the others, or to start a task.
fn parts(fact: &Expression, groups: usize) -> usize {
    let rows = fact.dataset.expression.rows;
    (rows / (4 * groups as u64).max(1 << 20)).clamp(4, PARTS) as usize
}

/// The scan of `expression` with the columns that are needed.
async fn scan(
    fact: &Expression,
    cells: &Axis,
    genes: &Axis,
    arguments: &SchemaRef,
    parts: usize,
) -> Result<ExpressionScan> {
    let table = &fact.dataset.expression.schema;
    let needed = |name: &str| match name {
        CELL => !cells.plain || !cells.columns.is_empty() || arguments.index_of("#c").is_ok(),
        GENE => !genes.plain || !genes.columns.is_empty() || arguments.index_of("#g").is_ok(),
        VALUE => arguments.index_of("#v").is_ok(),
        _ => false,
    };
    let columns: Vec<usize> = (0..table.fields().len())
        .filter(|i| needed(table.field(*i).name()))
        .collect();
    fact.operator_in_any_order(&columns, parts).await
}

/// If `expr` only widens the stored value, the value itself: sums are computed in wide
/// numbers anyway.
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
