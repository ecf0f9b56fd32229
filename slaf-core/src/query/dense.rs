//! Aggregates by cells, by genes, or by what is known of them, in arrays.
//!
//! Cell and gene ids are dense integers, so that the group of a row is found by
//! looking up two arrays, and a join with `cells` or `genes` is such a look-up.
//! No hash table is built over the rows of `expression`, and memory is that of
//! the groups. Where the sums of whole cells or genes are all that is asked for,
//! the dataset knows them already.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, ToDFSchema};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Cast, Expr, ExprSchemable, Filter, Join, LogicalPlan, Projection, SubqueryAlias,
};
use datafusion::physical_expr::PhysicalExpr;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::accumulate::{Accumulator, Kind};
use super::dense_scan::DenseScan;
use super::expression::{CELL, Expression, GENE, VALUE, Wanted};
use super::resolve::{
    Materialised, expression_of, is_small, mentions_expression, numbered, plain_column, provided,
};

/// Bytes that the groups may take in all threads together.
const ROOM: usize = 2 << 30;

/// The columns of `expression` in the expressions of a [`Star`].
const NAMES: [(&str, &str); 3] = [(CELL, "#c"), (GENE, "#g"), (VALUE, "#v")];

/// The aggregate as one operator, or as it was.
pub(crate) async fn plan(aggregate: Aggregate, state: &SessionState) -> Result<LogicalPlan> {
    let scan = dense(&aggregate, state).await?;
    let plan = LogicalPlan::Aggregate(aggregate);
    match scan {
        Some(scan) => provided(&plan, Arc::new(scan)),
        None => Ok(plan),
    }
}

/// Which of the two axes something depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Cells,
    Genes,
}

impl Side {
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Cells => "#c",
            Self::Genes => "#g",
        }
    }
}

/// `expression` joined to tables that have a row for each of its cells or
/// genes.
struct Star {
    fact: Expression,
    dimensions: Vec<Dimension>,
    /// Each column of the plan in terms of the columns of the parts.
    columns: Vec<Expr>,
    filters: Vec<Expr>,
}

struct Dimension {
    side: Side,
    rows: RecordBatch,
    /// The row of each id; NULL: none.
    row_of: UInt32Array,
}

fn star<'a>(plan: &'a LogicalPlan, state: &'a SessionState) -> BoxFuture<'a, Result<Option<Star>>> {
    async move {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let Some(whole) = expression_of(scan).filter(|_| scan.fetch.is_none()) else {
                    return Ok(None);
                };
                let fact = whole.restricted(&scan.filters, state)?;
                let fields = scan.projected_schema.fields().iter();
                let columns = fields.map(|field| {
                    let known = NAMES.iter().find(|(name, _)| name == field.name());
                    known.map(|(_, ours)| Expr::Column(Column::new_unqualified(*ours)))
                });
                Ok(columns.collect::<Option<Vec<_>>>().map(|columns| Star {
                    fact,
                    dimensions: vec![],
                    columns,
                    filters: vec![],
                }))
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => star(input, state).await,
            LogicalPlan::Projection(Projection { input, expr, .. }) => {
                let Some(mut found) = star(input, state).await? else {
                    return Ok(None);
                };
                let columns = expr.iter().map(|e| found.translate(e, input.schema()));
                found.columns = columns.collect::<Result<_>>()?;
                Ok(Some(found))
            }
            LogicalPlan::Filter(Filter {
                input, predicate, ..
            }) => {
                let Some(mut found) = star(input, state).await? else {
                    return Ok(None);
                };
                let predicate = found.translate(predicate, input.schema())?;
                found.filters.push(predicate);
                Ok(Some(found))
            }
            LogicalPlan::Join(join) => joined(join, state).await,
            _ => Ok(None),
        }
    }
    .boxed()
}

async fn joined(join: &Join, state: &SessionState) -> Result<Option<Star>> {
    let fact_is_left = mentions_expression(&join.left);
    let (fact, other) = match fact_is_left {
        true => (&join.left, &join.right),
        false => (&join.right, &join.left),
    };
    let semi = match join.join_type {
        JoinType::Inner => false,
        JoinType::LeftSemi if fact_is_left => true,
        JoinType::RightSemi if !fact_is_left => true,
        _ => return Ok(None),
    };
    let [(left, right)] = join.on.as_slice() else {
        return Ok(None);
    };
    if !is_small(other) || (semi && join.filter.is_some()) {
        return Ok(None);
    }
    let (of_fact, of_other) = if fact_is_left {
        (left, right)
    } else {
        (right, left)
    };
    let Some(mut found) = star(fact, state).await? else {
        return Ok(None);
    };
    let key = plain_column(of_fact).map(Expr::Column);
    let key = key
        .map(|key| found.translate(&key, fact.schema()))
        .transpose()?;
    let Some(side) = [Side::Cells, Side::Genes]
        .into_iter()
        .find(|side| key.as_ref() == Some(&Expr::Column(Column::new_unqualified(side.id()))))
    else {
        return Ok(None);
    };
    let read = Materialised::of(other, state).await?;
    let keys = read.keys(of_other, state)?;
    let shape = found.fact.dataset.shape();
    let len = if side == Side::Cells {
        shape.0
    } else {
        shape.1
    };
    let mut row_of: Vec<Option<u32>> = vec![None; len as usize];
    for (row, key) in keys.into_iter().enumerate() {
        let Some(slot) = key.and_then(|key| row_of.get_mut(usize::try_from(key).ok()?)) else {
            continue;
        };
        // With two rows for one id the join multiplies rows.
        if slot.replace(row as u32).is_some() && !semi {
            return Ok(None);
        }
    }
    let rows = concat_batches(&schema_of(&read.batches, other), &read.batches)?;
    let number = found.dimensions.len();
    let named = (0..rows.num_columns())
        .map(|column| Expr::Column(Column::new_unqualified(format!("#{number}.{column}"))));
    let named: Vec<Expr> = named.collect();
    found.dimensions.push(Dimension {
        side,
        rows,
        row_of: row_of.into(),
    });
    if !semi {
        let of_fact = std::mem::take(&mut found.columns);
        found.columns = if fact_is_left {
            of_fact.into_iter().chain(named).collect()
        } else {
            named.into_iter().chain(of_fact).collect()
        };
    }
    if let Some(filter) = &join.filter {
        let both = join.left.schema().join(join.right.schema())?;
        let filter = found.translate(filter, &both)?;
        found.filters.push(filter);
    }
    Ok(Some(found))
}

fn schema_of(batches: &[RecordBatch], plan: &LogicalPlan) -> SchemaRef {
    batches
        .first()
        .map_or_else(|| Arc::clone(plan.schema().inner()), RecordBatch::schema)
}

impl Star {
    /// `expr` over the columns of the parts.
    fn translate(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
        let translated = expr.clone().transform(|expr| {
            Ok(match expr {
                Expr::Column(column) => {
                    Transformed::yes(self.columns[schema.index_of_column(&column)?].clone())
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(translated.data.unalias_nested().data)
    }

    /// The axis that a column of the parts belongs to; none: the values.
    fn side(&self, column: &Column) -> Option<Side> {
        match column.name.as_str() {
            "#c" => Some(Side::Cells),
            "#g" => Some(Side::Genes),
            name => {
                let (number, _) = name.strip_prefix('#')?.split_once('.')?;
                Some(self.dimensions[number.parse::<usize>().ok()?].side)
            }
        }
    }

    /// The only axis that `expr` depends on.
    fn axis(&self, expr: &Expr) -> Option<Side> {
        let mut sides = expr.column_refs().into_iter().map(|c| self.side(c));
        let first = sides.next()??;
        (sides.all(|side| side == Some(first)) && !expr.is_volatile()).then_some(first)
    }

    fn dtype(&self, name: &str) -> Result<DataType> {
        if let Some((stored, _)) = NAMES.iter().find(|(_, ours)| *ours == name) {
            let schema = &self.fact.dataset.expression.schema;
            return Ok(schema.field_with_name(stored)?.data_type().clone());
        }
        Ok(self.place(name)?.1.data_type().clone())
    }

    fn place(&self, name: &str) -> Result<(&Dimension, &ArrayRef)> {
        let parts = name.strip_prefix('#').and_then(|rest| rest.split_once('.'));
        let parts =
            parts.and_then(|(n, c)| Some((n.parse::<usize>().ok()?, c.parse::<usize>().ok()?)));
        let (number, column) = parts.ok_or_else(|| {
            DataFusionError::Internal(format!("there is no column {name} in a star"))
        })?;
        let dimension = &self.dimensions[number];
        Ok((dimension, dimension.rows.column(column)))
    }

    /// A column of the parts by id.
    fn by_id(&self, name: &str, len: usize) -> Result<ArrayRef> {
        if name == "#c" || name == "#g" {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..len as i64));
            return Ok(cast(&ids, &self.dtype(name)?)?);
        }
        let (dimension, column) = self.place(name)?;
        Ok(take(column, &dimension.row_of, None)?)
    }

    /// The schema of some columns of the parts.
    fn schema(&self, names: &BTreeSet<String>) -> Result<SchemaRef> {
        let fields = names.iter().map(|name| {
            let stored = NAMES.iter().any(|(_, ours)| ours == name);
            Ok(Field::new(name, self.dtype(name)?, !stored))
        });
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
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
            if let Some(rows) = arrow::array::Array::nulls(&dimension.row_of) {
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
