//! Aggregates by cells, by genes, or by what is known of them, in arrays.
//!
//! Cell and gene ids are dense integers, so that the group of a row is found by
//! looking up two arrays, and a join with `cells` or `genes` is such a look-up.
//! No hash table is built over the rows of `expression`, and memory is that of
//! the groups. Where the sums of whole cells or genes are all that is asked for,
//! the dataset knows them already.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, ToDFSchema};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, Cast, Expr, ExprSchemable, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;

use crate::query::sources::accumulate::{Accumulator, Kind};
use crate::query::sources::dense_scan::DenseScan;
use crate::query::sources::expression::{Expression, Wanted};
use crate::query::sources::resolve::{numbered, provided};
use crate::query::sources::star::{NAMES, Side, Star, star};

/// Bytes that the groups may take in all threads together.
const ROOM: usize = 2 << 30;

/// The aggregate as one operator, or as it was.
pub(crate) async fn plan(aggregate: Aggregate, state: &SessionState) -> Result<LogicalPlan> {
    let scan = dense(&aggregate, state).await?;
    let plan = LogicalPlan::Aggregate(aggregate);
    match scan {
        Some(scan) => provided(&plan, Arc::new(scan)),
        None => Ok(plan),
    }
}

/// What a scan needs to know of one axis.
#[derive(Debug)]
pub(crate) struct Axis {
    /// The group of each id; `u32::MAX`: of none.
    pub(crate) codes: Vec<u32>,
    pub(crate) groups: usize,
    /// The group columns, a row a group.
    pub(crate) keys: Vec<ArrayRef>,
    /// Columns by id that arguments are made of.
    pub(crate) columns: HashMap<String, ArrayRef>,
    /// Whether the rows of all ids count, and alike.
    pub(crate) plain: bool,
}

impl Axis {
    fn of(
        star: &Star,
        side: Side,
        by: &[&Expr],
        used: &BTreeSet<String>,
        state: &SessionState,
    ) -> Result<Self> {
        let shape = star.fact.dataset.shape();
        let (len, wanted) = match side {
            Side::Cells => (shape.0 as usize, &star.fact.wanted.cells),
            Side::Genes => (shape.1 as usize, &star.fact.wanted.genes),
        };
        let mut alive = wanted
            .clone()
            .unwrap_or_else(|| BooleanBuffer::new_set(len));
        for dimension in star.dimensions.iter().filter(|d| d.side == side) {
            if let Some(rows) = dimension.row_of.nulls() {
                alive = &alive & rows.inner();
            }
        }
        let all = alive.count_set_bits() == len;
        let id = Expr::Column(Column::new_unqualified(side.id()));
        let (codes, firsts) = if by.is_empty() {
            (
                alive
                    .iter()
                    .map(|here| if here { 0 } else { u32::MAX })
                    .collect(),
                None,
            )
        } else {
            let names = by
                .iter()
                .flat_map(|e| e.column_refs())
                .map(|c| c.name.clone());
            let names: BTreeSet<String> = names.collect();
            let keys = evaluate(star, by, &names, len, state)?;
            let (codes, firsts) = if by.contains(&&id) {
                numbers(&alive)
            } else {
                grouped(&keys, &alive)?
            };
            let keys = keys.iter().map(|key| take(key, &firsts, None));
            (codes, Some(keys.collect::<Result<Vec<_>, _>>()?))
        };
        let columns = used
            .iter()
            .filter(|name| star.side(&Column::new_unqualified(name.as_str())) == Some(side));
        let columns = columns.filter(|name| !NAMES.iter().any(|(_, ours)| ours == name));
        let columns = columns.map(|name| Ok((name.clone(), star.by_id(name, len)?)));
        let groups = match &firsts {
            Some(keys) => keys.first().map_or(0, |key| key.len()),
            None => 1,
        };
        Ok(Self {
            codes,
            groups,
            plain: all && firsts.is_none(),
            keys: firsts.unwrap_or_default(),
            columns: columns.collect::<Result<_>>()?,
        })
    }

    pub(crate) fn alive(&self) -> Option<BooleanBuffer> {
        let alive: BooleanBuffer = self.codes.iter().map(|code| *code != u32::MAX).collect();
        (alive.count_set_bits() < alive.len()).then_some(alive)
    }
}

fn evaluate(
    star: &Star,
    exprs: &[&Expr],
    names: &BTreeSet<String>,
    len: usize,
    state: &SessionState,
) -> Result<Vec<ArrayRef>> {
    let schema = star.schema(names)?;
    let columns = names.iter().map(|name| star.by_id(name, len));
    let options = RecordBatchOptions::new().with_row_count(Some(len));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
    let schema = schema.to_dfschema()?;
    let exprs = exprs.iter().map(|expr| {
        let expr = state.create_physical_expr((*expr).clone(), &schema)?;
        expr.evaluate(&batch)?.into_array(len)
    });
    exprs.collect()
}

/// Every id a group of its own.
fn numbers(alive: &BooleanBuffer) -> (Vec<u32>, UInt32Array) {
    let firsts: Vec<u32> = alive.set_indices().map(|id| id as u32).collect();
    let mut codes = vec![u32::MAX; alive.len()];
    for (code, id) in firsts.iter().enumerate() {
        codes[*id as usize] = code as u32;
    }
    (codes, firsts.into())
}

/// Ids with equal keys in one group, and the first id of each.
fn grouped(keys: &[ArrayRef], alive: &BooleanBuffer) -> Result<(Vec<u32>, UInt32Array)> {
    let fields = keys
        .iter()
        .map(|key| SortField::new(key.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let rows = converter.convert_columns(keys)?;
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let (mut codes, mut firsts) = (vec![u32::MAX; alive.len()], vec![]);
    for id in alive.set_indices() {
        let next = firsts.len() as u32;
        codes[id] = *known.entry(rows.row(id).data()).or_insert_with(|| {
            firsts.push(id as u32);
            next
        });
    }
    Ok((codes, firsts.into()))
}

/// An aggregate function over the columns of a [`Star`].
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) kind: Kind,
    /// None: rows are counted.
    pub(crate) argument: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the argument is the stored value as it stands.
    pub(crate) of_value: bool,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the argument is an integer.
    pub(crate) integer: bool,
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

/// An aggregate function that this operator knows.
fn call(expr: &Expr) -> Option<(Kind, &AggregateFunctionParams)> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = unaliased(expr) else {
        return None;
    };
    let AggregateFunctionParams {
        args,
        distinct: false,
        filter: _,
        order_by,
        null_treatment: None,
    } = params
    else {
        return None;
    };
    let kind = Kind::of(func.name())?;
    (args.len() <= 1 && order_by.is_empty()).then_some((kind, params))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
