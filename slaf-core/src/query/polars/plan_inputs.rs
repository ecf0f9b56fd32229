//! The inputs of a plan in Polars: tables, and the results of the operators on
//! values that both executors share (aggregates, and joins with cells and genes),
//! passed on without a copy.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable, execute_stream};
use futures::TryStreamExt;
use polars::prelude::{DataFrame, Engine, OptFlags};
use tokio::task::spawn_blocking;

use super::columns::frame;
use super::lowering::lower;
use super::plan_shapes::{has_windows, is_of_first_rows, is_passed_on};
use super::unsupported::{Lowered, refuse};
use crate::ground::arrow_polars::to_arrow;
use crate::query::planning::answer_schema::{as_planned, uniform};
use crate::query::planning::planned::Planned;
use crate::query::sources::errors::external;
use crate::query::sources::expression::ExpressionScan;
use crate::query::sources::frame_provider::MemoryTable;
use crate::query::sources::metadata::Metadata;
use crate::query::sources::task_context::task_context;

/// Maximum number of rows that are loaded for Polars; larger inputs are streamed by
/// DataFusion.
const MOST: usize = 20_000_000;
const TOO_MANY: &str = "more rows than it should hold in memory";

/// Number of rows from which on Polars' streaming engine is used: it groups a million
/// rows in half the time, and 50,000 rows no faster.
const MANY: usize = 200_000;

/// Number of rows below which no other thread is used: starting it would take longer.
const FEW: usize = 2_000;
const PANICKED: &str = "a computation stopped unexpectedly";

/// The optimizations that DataFusion has not made already.
fn needed() -> OptFlags {
    OptFlags::TYPE_COERCION
        | OptFlags::TYPE_CHECK
        | OptFlags::SIMPLIFY_EXPR
        | OptFlags::SLICE_PUSHDOWN
        | OptFlags::FAST_PROJECTION
}

/// The inputs of a plan that Polars runs.
pub(crate) struct Leaves {
    plan: LogicalPlan,
    leaves: Vec<Leaf>,
    /// Scalar subqueries, which run first.
    values: Vec<Arc<dyn ExecutionPlan>>,
}

enum Leaf {
    /// Whole columns of cells or genes, which stay in memory.
    Cached(Metadata, Vec<String>),
    /// Rows in memory, and a description of them.
    InMemory(Vec<RecordBatch>, String),
    Read(Arc<dyn ExecutionPlan>),
}

impl Leaf {
    /// The number of rows, as far as it is known before they are read.
    fn rows(&self) -> usize {
        match self {
            Self::Cached(metadata, _) => metadata.table.rows as usize,
            Self::InMemory(batches, _) => batches.iter().map(RecordBatch::num_rows).sum(),
            Self::Read(physical) => values_of(physical),
        }
    }

    /// Reads the rows. Fails if they are too many.
    async fn read(&self, state: &SessionState, memory: usize) -> DfResult<Lowered<DataFrame>> {
        Ok(match self {
            Self::Cached(metadata, names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let columns = metadata.table.cached_in_polars(&names).await;
                let columns = columns.map_err(external)?;
                let whole = DataFrame::new(metadata.table.rows as usize, columns);
                whole.map_err(|e| e.to_string())
            }
            Self::InMemory(batches, _) => frame(&batches[0].schema(), batches),
            Self::Read(physical) => {
                let mut stream = execute_stream(Arc::clone(physical), task_context(state))?;
                let (mut batches, mut rows, mut bytes) = (vec![], 0, 0);
                while let Some(batch) = stream.try_next().await? {
                    rows += batch.num_rows();
                    for column in batch.columns() {
                        bytes += column.to_data().get_slice_memory_size()?;
                    }
                    if rows > MOST || bytes > memory {
                        return Ok(refuse(TOO_MANY));
                    }
                    batches.push(batch);
                }
                frame(&physical.schema(), &batches)
            }
        })
    }
}

impl Leaves {
    /// The inputs of `plan`, or the reason why Polars does not run it.
    pub(crate) async fn of(planned: &Planned) -> Lowered<Self> {
        let (plan, state) = (&planned.plan, &planned.state);
        let mut scalar_subqueries = vec![];
        let without = with_values(plan, &mut |subquery| {
            scalar_subqueries.push(subquery.clone());
            no_value(subquery)
        });
        let without = without.map_err(|e| e.to_string())?;
        let mut found = vec![];
        _ = lower(&without, &mut |leaf| {
            found.push(leaf.clone());
            frame(leaf.schema().as_arrow(), &[])
        })?;
        let here: Vec<Option<Leaf>> = found.iter().map(here).collect();
        if is_passed_on(plan) && matches!(here.as_slice(), [None]) {
            return refuse("its rows are the answer as they are read");
        }
        let mut leaves = vec![];
        for (leaf, here) in found.iter().zip(here) {
            leaves.push(match here {
                Some(here) => here,
                None => Leaf::Read(physical(leaf, state).await?),
            });
        }
        // An aggregate usually has few rows; if not, reading it fails.
        let rows = found.iter().zip(&leaves);
        let rows = rows.map(|(plan, leaf)| match plan {
            LogicalPlan::Aggregate(_) => 0,
            _ => leaf.rows(),
        });
        if rows.fold(0, usize::saturating_add) > MOST {
            return refuse(TOO_MANY);
        }
        let mut values = vec![];
        for subquery in scalar_subqueries {
            values.push(physical(&subquery.subquery, state).await?);
        }
        Ok(Self {
            plan: plan.clone(),
            leaves,
            values,
        })
    }

    /// The shape of the plan, if DataFusion is faster for it.
    pub(crate) fn slower(&self) -> Option<&'static str> {
        is_of_first_rows(&self.plan).then_some("it finds the first rows in an order faster")
    }

    /// The operators that read inputs which are not kept in memory.
    pub(crate) fn scans(&self) -> impl Iterator<Item = &Arc<dyn ExecutionPlan>> {
        let leaves = self.leaves.iter();
        let read = leaves.filter_map(|leaf| match leaf {
            Leaf::Cached(..) | Leaf::InMemory(..) => None,
            Leaf::Read(physical) => Some(physical),
        });
        read.chain(&self.values)
    }

    /// Runs the plan with Polars; `None` if Polars cannot run it, and DataFusion
    /// should.
    pub(crate) async fn run(
        &self,
        planned: &Planned,
        memory: usize,
    ) -> crate::Result<Lowered<(SchemaRef, Vec<RecordBatch>)>> {
        let answer = self.collect_rows(&planned.state, memory).await;
        let rows = match answer.map_err(|e| planned.failure(&e))? {
            Ok(rows) => to_arrow(rows)?,
            Err(reason) => return Ok(Err(reason)),
        };
        // The types are those of the optimized plan, and the names those of the
        // statement.
        let columns = rows.columns().iter().zip(planned.plan.schema().fields());
        let columns = columns.map(|(column, field)| as_planned(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
        let named = planned.schema.fields().iter().zip(&columns);
        let named = named.map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true));
        let schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
        Ok(Ok(uniform(schema, vec![rows])?))
    }

    /// Reads the inputs, at most `memory` bytes, and runs the plan.
    async fn collect_rows(
        &self,
        state: &SessionState,
        memory: usize,
    ) -> DfResult<Lowered<DataFrame>> {
        let (mut frames, mut rows, mut bytes) = (VecDeque::new(), 0, 0);
        for leaf in &self.leaves {
            let frame = match leaf.read(state, memory - bytes).await? {
                Ok(frame) => frame,
                Err(reason) => return Ok(Err(reason)),
            };
            rows += frame.height();
            bytes += frame.estimated_size();
            if rows > MOST || bytes > memory {
                return Ok(refuse(TOO_MANY));
            }
            frames.push_back(frame);
        }
        let mut values = VecDeque::new();
        for physical in &self.values {
            match value_of(physical, state).await? {
                Ok(value) => values.push_back(value),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let plan = with_values(&self.plan, &mut |subquery| {
            values.pop_front().map_or_else(|| no_value(subquery), Ok)
        })?;
        let lowered = lower(&plan, &mut |_| {
            let unknown = || refuse("an unknown input");
            frames.pop_front().map_or_else(unknown, Ok)
        });
        let lowered = match lowered {
            Ok(lowered) => lowered,
            Err(reason) => return Ok(Err(reason)),
        };
        let engine = match rows >= MANY && !has_windows(&plan) {
            true => Engine::Streaming,
            false => Engine::InMemory,
        };
        let lowered = lowered.with_optimizations(needed());
        let collect = move || lowered.collect_with_engine(engine);
        let answer = match rows < FEW {
            true => catch_unwind(AssertUnwindSafe(collect)).map_err(|_| PANICKED.to_owned()),
            false => spawn_blocking(collect).await.map_err(|e| e.to_string()),
        };
        Ok(match answer {
            Ok(Ok(answer)) => Ok(answer.unwrap_single()),
            Ok(Err(error)) => refuse(error.to_string()),
            Err(stopped) => refuse(stopped),
        })
    }

    /// A description of the plan and its inputs. Nothing is read.
    pub(crate) fn described(&self) -> Lowered<String> {
        let plan = with_values(&self.plan, &mut no_value).map_err(|e| e.to_string())?;
        let plan = lower(&plan, &mut |leaf| frame(leaf.schema().as_arrow(), &[]))?;
        let mut text = plan.explain(true).map_err(|e| e.to_string())?;
        for (number, leaf) in self.leaves.iter().enumerate() {
            let lines = match leaf {
                Leaf::Cached(metadata, names) => {
                    format!("{}, kept: {}", metadata.table.name, names.join(", "))
                }
                Leaf::InMemory(_, about) => about.clone(),
                Leaf::Read(physical) => displayable(&**physical).indent(false).to_string(),
            };
            text += &format!("\nframe {}: {}", number + 1, lines.trim_end());
        }
        for physical in &self.values {
            let lines = displayable(&**physical).indent(false).to_string();
            text += &format!("\na value: {}", lines.trim_end());
        }
        Ok(text)
    }
}

/// Replaces scalar subqueries that do not depend on a row by their values.
fn with_values(
    plan: &LogicalPlan,
    value: &mut dyn FnMut(&Subquery) -> DfResult<ScalarValue>,
) -> DfResult<LogicalPlan> {
    let known = |expr: Expr, value: &mut dyn FnMut(&Subquery) -> DfResult<ScalarValue>| match &expr
    {
        Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => {
            Ok(Transformed::yes(Expr::Literal(value(subquery)?, None)))
        }
        _ => Ok(Transformed::no(expr)),
    };
    let replaced = plan.clone().transform_down(|node| {
        node.map_expressions(|expr| expr.transform_down(|expr| known(expr, value)))
    })?;
    Ok(replaced.data)
}

/// A placeholder for the value of a subquery: NULL.
fn no_value(subquery: &Subquery) -> DfResult<ScalarValue> {
    let (_, field) = subquery.subquery.schema().qualified_field(0);
    ScalarValue::try_new_null(field.data_type())
}

/// A table that is in memory, or will be kept in memory. Such tables do not apply
/// filters, so no filter is lost.
fn here(leaf: &LogicalPlan) -> Option<Leaf> {
    let LogicalPlan::TableScan(scan) = leaf else {
        return None;
    };
    let provider = source_as_provider(&scan.source).ok()?;
    let schema = scan.projected_schema.as_arrow();
    if let Some(metadata) = provider.downcast_ref::<Metadata>() {
        let names = schema.fields().iter().map(|field| field.name().clone());
        let whole = metadata.is_cached(schema) && !schema.fields().is_empty();
        return whole.then(|| Leaf::Cached(metadata.clone(), names.collect()));
    }
    let held = provider.downcast_ref::<MemoryTable>()?;
    let batches = held.batches.iter().map(|batch| match &scan.projection {
        Some(columns) => batch.project(columns),
        None => Ok(batch.clone()),
    });
    let batches = batches.collect::<Result<Vec<_>, _>>().ok()?;
    (!batches.is_empty()).then(|| Leaf::InMemory(batches, held.about.clone()))
}

async fn physical(plan: &LogicalPlan, state: &SessionState) -> Lowered<Arc<dyn ExecutionPlan>> {
    let planner = state.query_planner();
    let physical = planner.create_physical_plan(plan, state).await;
    physical.map_err(|e| e.to_string())
}

/// The value of a scalar subquery; NULL if it has no row.
async fn value_of(
    physical: &Arc<dyn ExecutionPlan>,
    state: &SessionState,
) -> DfResult<Lowered<ScalarValue>> {
    let batches = collect(Arc::clone(physical), task_context(state)).await?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let first = batches.iter().find(|batch| batch.num_rows() > 0);
    Ok(match (rows, first) {
        (1, Some(batch)) => Ok(ScalarValue::try_from_array(batch.column(0), 0)?),
        (0, _) => Ok(ScalarValue::try_new_null(
            physical.schema().field(0).data_type(),
        )?),
        _ => refuse("a subquery of several rows"),
    })
}

/// The estimated number of rows of a plan, or else that of its scans of `expression`.
fn values_of(plan: &Arc<dyn ExecutionPlan>) -> usize {
    if let Some(scan) = plan.downcast_ref::<ExpressionScan>() {
        return scan.rows().0 as usize;
    }
    let counted = plan.partition_statistics(None).ok();
    match counted.and_then(|counted| counted.num_rows.get_value().copied()) {
        Some(rows) => rows,
        None => plan
            .children()
            .into_iter()
            .map(values_of)
            .max()
            .unwrap_or(0),
    }
}
