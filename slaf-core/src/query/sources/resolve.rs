//! Small tables first: what a query joins to `expression` is read before it,
//! so that only the rows of the cells and genes that are left are read.
//!
//! `… JOIN genes g … WHERE g.gene_id = 'CD3D'` becomes the rows of one gene.
//! DataFusion's own dynamic filters would come too late to choose between the
//! two orders of the table, and EXPLAIN could not tell what will be read.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    Aggregate, Cast, Distinct, Expr, Filter, Join, LogicalPlan, Projection, Sort, SubqueryAlias,
    TableScan,
};
use datafusion::physical_plan::collect;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::query::sources::dense;
use crate::query::sources::expression::{CELL, Expression, GENE, Wanted};
use crate::query::sources::frame::Held;
use crate::query::sources::metadata::Metadata;
use crate::query::sources::task::task;

/// The name of a table that stands for a part of a plan.
pub(crate) const RESOLVED: &str = "_resolved";
/// Rows of tables that are read ahead, at most.
const SMALL: usize = 20_000_000;

/// The optimized `plan` with its scans of `expression` narrowed, and aggregates
/// by cells and genes done by [`dense`].
pub(crate) fn resolve(
    plan: LogicalPlan,
    state: &SessionState,
) -> BoxFuture<'_, Result<LogicalPlan>> {
    async move {
        if !mentions_expression(&plan) {
            return Ok(plan);
        }
        // From above, so that less is read below an aggregate; and again, when
        // what was aggregated below has become small.
        let plan = match plan {
            LogicalPlan::Join(join) => narrow(join, state).await?,
            other => other,
        };
        let mut inputs = vec![];
        for input in plan.inputs() {
            inputs.push(resolve(input.clone(), state).await?);
        }
        let plan = if inputs.is_empty() {
            plan
        } else {
            plan.with_new_exprs(plan.expressions(), inputs)?
        };
        match plan {
            LogicalPlan::Join(join) => narrow(join, state).await,
            LogicalPlan::Aggregate(aggregate) => dense::plan(aggregate, state).await,
            other => Ok(other),
        }
    }
    .boxed()
}

/// The provider of a scan, if it is `expression`.
pub(crate) fn expression_of(scan: &TableScan) -> Option<Expression> {
    let provider = source_as_provider(&scan.source).ok()?;
    provider.downcast_ref::<Expression>().cloned()
}

pub(crate) fn mentions_expression(plan: &LogicalPlan) -> bool {
    plan.exists(|node| {
        Ok(matches!(node, LogicalPlan::TableScan(scan) if expression_of(scan).is_some()))
    })
    .unwrap_or(true)
}

/// Reads one side of a join if it is small, and leaves of the other what it can
/// match.
async fn narrow(join: Join, state: &SessionState) -> Result<LogicalPlan> {
    let mut join = join;
    if join.null_aware {
        return Ok(LogicalPlan::Join(join));
    }
    for small_is_left in [true, false] {
        let (small, big) = match small_is_left {
            true => (&join.left, &join.right),
            false => (&join.right, &join.left),
        };
        let matched = match join.join_type {
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => true,
            JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => small_is_left,
            JoinType::Right | JoinType::RightAnti | JoinType::RightMark => !small_is_left,
            JoinType::Full => false,
        };
        if !matched || !mentions_expression(big) || !is_small(small) {
            continue;
        }
        if is_whole_axis(small) || is_held(small) {
            continue;
        }
        let keys: Vec<(Expr, Column)> = join
            .on
            .iter()
            .filter_map(|(left, right)| {
                let (of_small, of_big) = if small_is_left {
                    (left, right)
                } else {
                    (right, left)
                };
                Some((of_small.clone(), plain_column(of_big)?))
            })
            .filter(|(_, column)| trace(big, column).is_some())
            .collect();
        if keys.is_empty() {
            continue;
        }
        let read = Materialised::of(small, state).await?;
        let mut narrowed = (**big).clone();
        for (key, column) in keys {
            let Some((axis, len)) = trace(&narrowed, &column) else {
                continue;
            };
            let mask = read.ids(&key, len, state)?;
            let mut wanted = Wanted::default();
            match axis {
                CELL => wanted.cells = Some(mask),
                _ => wanted.genes = Some(mask),
            }
            narrowed = restrict(narrowed, &column, &wanted)?;
        }
        let small = Arc::new(read.scan(small)?);
        (join.left, join.right) = match small_is_left {
            true => (small, Arc::new(narrowed)),
            false => (Arc::new(narrowed), small),
        };
    }
    Ok(LogicalPlan::Join(join))
}

/// The column that an expression is, a widening of integers aside.
pub(crate) fn plain_column(expr: &Expr) -> Option<Column> {
    match expr {
        Expr::Column(column) => Some(column.clone()),
        Expr::Cast(Cast { expr, field }) if field.data_type().is_integer() => plain_column(expr),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

/// The input whose rows can be left out when those of `plan` with some value of
/// `column` are not wanted, and the column there.
fn below<'a>(plan: &'a LogicalPlan, column: &Column) -> Option<(usize, Column)> {
    let index = plan.schema().maybe_index_of_column(column)?;
    let of_input = |input: &'a LogicalPlan, index: usize| {
        let (relation, field) = input.schema().qualified_field(index);
        Column::new(relation.cloned(), field.name())
    };
    match plan {
        LogicalPlan::Projection(Projection { expr, .. }) => {
            Some((0, plain_column(expr.get(index)?)?))
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => {
            Some((0, of_input(input, index)))
        }
        LogicalPlan::Filter(Filter { .. })
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Sort(Sort { fetch: None, .. }) => Some((0, column.clone())),
        LogicalPlan::Aggregate(Aggregate { group_expr, .. }) => {
            let key = group_expr.get(index)?;
            Some((0, plain_column(key)?))
        }
        LogicalPlan::Join(join) => {
            let in_left = join.left.schema().has_column(column);
            let kept = match join.join_type {
                JoinType::Inner => true,
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    in_left
                }
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => !in_left,
                JoinType::Full => false,
            };
            (kept && !join.null_aware).then(|| (usize::from(!in_left), column.clone()))
        }
        _ => None,
    }
}

/// The id of `expression` that a column is, and how many there are.
fn trace(plan: &LogicalPlan, column: &Column) -> Option<(&'static str, u64)> {
    if let LogicalPlan::TableScan(scan) = plan {
        let (cells, genes) = expression_of(scan)
            .filter(|_| scan.fetch.is_none())?
            .dataset
            .shape();
        return match column.name.as_str() {
            CELL => Some((CELL, cells)),
            GENE => Some((GENE, genes)),
            _ => None,
        };
    }
    let (input, column) = below(plan, column)?;
    trace(plan.inputs().get(input)?, &column)
}

fn restrict(plan: LogicalPlan, column: &Column, wanted: &Wanted) -> Result<LogicalPlan> {
    if let LogicalPlan::TableScan(scan) = &plan {
        let Some(whole) = expression_of(scan) else {
            return Ok(plan);
        };
        let part = Expression {
            wanted: whole.wanted.and(wanted),
            ..whole
        };
        return Ok(LogicalPlan::TableScan(TableScan {
            source: provider_as_source(Arc::new(part)),
            ..scan.clone()
        }));
    }
    let Some((place, inner)) = below(&plan, column) else {
        return Ok(plan);
    };
    let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let input = inputs.remove(place);
    inputs.insert(place, restrict(input, &inner, wanted)?);
    plan.with_new_exprs(plan.expressions(), inputs)
}

/// Whether `plan` reads no expression and few rows, the same each time.
pub(crate) fn is_small(plan: &LogicalPlan) -> bool {
    let mut rows = 0;
    let fits = plan.apply(|node| {
        if node.expressions().iter().any(Expr::is_volatile) {
            rows = usize::MAX;
        }
        match node {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                let counted = provider
                    .statistics()
                    .and_then(|s| s.num_rows.get_value().copied());
                let here = if expression_of(scan).is_some() {
                    None
                } else {
                    counted
                };
                rows = rows.saturating_add(here.unwrap_or(usize::MAX));
            }
            LogicalPlan::RecursiveQuery(_) | LogicalPlan::Extension(_) => rows = usize::MAX,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    fits.is_ok() && rows <= SMALL
}

/// Whether `plan` is all cells or all genes, with which nothing is left out.
fn is_whole_axis(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { input, .. })
        | LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_whole_axis(input),
        LogicalPlan::TableScan(scan) => {
            let columns = scan.source.schema();
            let of_axis = [CELL, GENE]
                .iter()
                .any(|id| columns.field_with_name(id).is_ok());
            let stored = source_as_provider(&scan.source);
            let stored = stored.is_ok_and(|provider| {
                let metadata = provider.downcast_ref::<Metadata>();
                metadata.is_some_and(|metadata| metadata.wanted.is_none())
            });
            of_axis && stored && scan.filters.is_empty() && scan.fetch.is_none()
        }
        _ => false,
    }
}

/// Whether `plan` is what [`Materialised::scan`] made.
fn is_held(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Projection(Projection { input, .. }) = plan else {
        return false;
    };
    let LogicalPlan::TableScan(scan) = &**input else {
        return false;
    };
    let held = source_as_provider(&scan.source).is_ok_and(|p| p.is::<Held>());
    held && scan.table_name.table() == RESOLVED
}

/// A part of a plan that has been run.
pub(crate) struct Materialised {
    pub(crate) batches: Vec<RecordBatch>,
    plan: LogicalPlan,
}

impl Materialised {
    pub(crate) async fn of(plan: &LogicalPlan, state: &SessionState) -> Result<Self> {
        let planner = state.query_planner();
        let physical = planner.create_physical_plan(plan, state).await?;
        Ok(Self {
            batches: collect(physical, task(state)).await?,
            plan: plan.clone(),
        })
    }

    /// `key` of every row.
    pub(crate) fn keys(&self, key: &Expr, state: &SessionState) -> Result<Vec<Option<i64>>> {
        let key = state.create_physical_expr(key.clone(), self.plan.schema())?;
        let mut keys = vec![];
        for batch in &self.batches {
            let column = key.evaluate(batch)?.into_array(batch.num_rows())?;
            let column = cast(&column, &DataType::Int64)?;
            keys.extend(column.as_primitive::<Int64Type>());
        }
        Ok(keys)
    }

    /// The ids below `len` among the keys.
    fn ids(&self, key: &Expr, len: u64, state: &SessionState) -> Result<BooleanBuffer> {
        let mut ids = BooleanBufferBuilder::new(len as usize);
        ids.append_n(len as usize, false);
        for key in self.keys(key, state)?.into_iter().flatten() {
            if (0..len as i64).contains(&key) {
                ids.set_bit(key as usize, true);
            }
        }
        Ok(ids.finish())
    }

    /// The rows as a plan in the place of the one that made them.
    pub(crate) fn scan(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        table(plan, &self.batches)
    }
}

/// A scan of `batches` that has the very schema of `plan`.
fn table(plan: &LogicalPlan, batches: &[RecordBatch]) -> Result<LogicalPlan> {
    let schema = numbered(plan);
    let batches = batches.iter().map(|batch| {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
    });
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    provided(plan, Arc::new(Held { schema, batches }))
}

/// The columns of `plan` under their numbers: names may be twice there.
pub(crate) fn numbered(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields().iter().enumerate();
    let fields =
        fields.map(|(n, f)| Field::new(n.to_string(), f.data_type().clone(), f.is_nullable()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A scan of `provider`, whose columns are [`numbered`], that has the very
/// schema of `plan`.
pub(crate) fn provided(
    plan: &LogicalPlan,
    provider: Arc<dyn TableProvider>,
) -> Result<LogicalPlan> {
    let source = provider_as_source(provider);
    let scan = TableScan::try_new(RESOLVED, source, None, vec![], None)?;
    let columns = (0..plan.schema().fields().len()).map(|index| {
        let (relation, field) = plan.schema().qualified_field(index);
        let column = Expr::Column(Column::new(Some(RESOLVED), index.to_string()));
        column.alias_qualified(relation.cloned(), field.name())
    });
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(
        columns.collect(),
        Arc::new(LogicalPlan::TableScan(scan)),
        Arc::clone(plan.schema()),
    )?))
}
