//! The general executor: DataFusion over Lance's table provider, which pushes
//! projections, filters and limits down to the scan.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{JoinType, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::{DataFrame, SessionContext, col, lit};
use datafusion::sql::TableReference;
use datafusion::sql::parser::Statement as DfStatement;
use futures::TryStreamExt;
use lance::datafusion::LanceTableProvider;
use sqlparser::ast::{Query, Statement, Visit, Visitor};

use crate::ground::thousands::grouped;
use crate::query::Options;
use crate::query::datafusion::failure::explain;
use crate::query::datafusion::session::{self, CATALOG, SCHEMA};
use crate::query::datafusion::spill::Kept;
use crate::query::polars::{Leaves, Lowered};
use crate::query::sources::catalog::{Catalog, Handle};
use crate::query::sources::counted::Counted;
use crate::query::sources::dense_scan::DenseAggregate;
use crate::query::sources::expression::{Expression, Wanted};
use crate::query::sources::expression_scan::ExpressionScan;
use crate::query::sources::frame::Held;
use crate::query::sources::metadata::Metadata;
use crate::query::sources::reading::Reading;
use crate::query::sources::resolve::resolve;
use crate::query::sources::task::task;

use crate::Table;
use crate::ground::arrow_polars::to_arrow;
use crate::{Error, Result, Selection};

/// A statement with all its names, types and what is pushed down settled: what
/// both executors are given.
pub(crate) struct Planned {
    state: SessionState,
    pub(crate) schema: SchemaRef,
    plan: LogicalPlan,
    uri: String,
}

/// A statement in DataFusion's operators.
pub(crate) struct Running {
    planned: Planned,
    physical: Arc<dyn ExecutionPlan>,
}

/// Plans `statement`, which reads; what it joins to `expression` is read here.
/// Joins by sorting are slower than those by hashing, and spill.
pub(crate) async fn plan(
    catalog: &Catalog,
    statement: Statement,
    options: &Options,
    sorted_joins: bool,
) -> Result<Planned> {
    let uri = catalog.uri();
    let outcome = async {
        let context = session::context(options.memory, sorted_joins, is_recursive(&statement))?;
        register(&context, catalog, &options.reading)?;
        let state = context.state();
        let statement = DfStatement::Statement(Box::new(statement));
        let plan = state.statement_to_plan(statement).await?;
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        let plan = match options.limit {
            Some(rows) => LogicalPlanBuilder::from(plan)
                .limit(0, Some(rows))?
                .build()?,
            None => plan,
        };
        let plan = resolve(state.optimize(&plan)?, &state).await?;
        Ok((state, schema, plan))
    };
    let (state, schema, plan) = outcome
        .await
        .map_err(|e: DataFusionError| explain(&e, &uri))?;
    Ok(Planned {
        state,
        schema,
        plan,
        uri,
    })
}

impl Planned {
    /// What Polars reads to run it, or why Polars does not run it.
    pub(crate) async fn leaves(&self) -> Lowered<Leaves> {
        Leaves::of(&self.plan, &self.state).await
    }

    /// The answer by Polars; none: Polars cannot say it, and DataFusion may.
    pub(crate) async fn run_in_polars(
        &self,
        leaves: &Leaves,
        memory: usize,
    ) -> Result<Lowered<(SchemaRef, Vec<RecordBatch>)>> {
        let answer = leaves.run(&self.state, memory).await;
        let rows = match answer.map_err(|e| explain(&e, &self.uri))? {
            Ok(rows) => to_arrow(rows)?,
            Err(reason) => return Ok(Err(reason)),
        };
        // What rules made of the types, under the names that were asked for.
        let columns = rows.columns().iter().zip(self.plan.schema().fields());
        let columns = columns.map(|(column, field)| as_planned(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
        let named = self.schema.fields().iter().zip(&columns);
        let named = named.map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true));
        let schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
        Ok(Ok(uniform(schema, vec![rows])?))
    }

    /// The plan in DataFusion's operators.
    pub(crate) async fn in_datafusion(self) -> Result<Running> {
        let planner = self.state.query_planner();
        let physical = planner.create_physical_plan(&self.plan, &self.state).await;
        let physical = physical.and_then(yielding);
        Ok(Running {
            physical: physical.map_err(|e| explain(&e, &self.uri))?,
            planned: self,
        })
    }
}

/// Texts as they are, whichever way Arrow stores them.
fn as_planned(column: &ArrayRef, planned: &DataType) -> Result<ArrayRef, ArrowError> {
    let text = |dtype: &DataType| {
        matches!(
            dtype,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        )
    };
    match text(column.data_type()) && text(planned) {
        true => Ok(Arc::clone(column)),
        false => cast(column, planned),
    }
}

/// What the scans of `expression` below some operators will read, a line each.
pub(crate) async fn reads(
    plans: impl Iterator<Item = &Arc<dyn ExecutionPlan>>,
) -> Result<Vec<String>> {
    let mut scans = vec![];
    plans.for_each(|plan| gather(plan, &mut scans));
    let mut lines = vec![];
    for scan in scans {
        let Some(scan) = scan else {
            lines.push("reads: stored sums, and no row of expression".to_owned());
            continue;
        };
        let (rows, of) = scan.rows();
        let bytes = scan.bytes().await?;
        lines.push(format!(
            "reads: {} of {} rows of expression, about {:.1} MB",
            grouped(rows),
            grouped(of),
            bytes as f64 / 1e6
        ));
    }
    Ok(lines)
}

impl Running {
    pub(crate) async fn run(&self, memory: usize) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let outcome = async {
            let mut rows = execute_stream(Arc::clone(&self.physical), task(&self.planned.state))?;
            let mut kept = Kept::new(memory);
            while let Some(batch) = rows.try_next().await? {
                kept.push(batch)?;
            }
            Ok(uniform(Arc::clone(&self.planned.schema), kept.finish()?)?)
        };
        outcome.await.map_err(|e: DataFusionError| {
            match matches!(e.find_root(), DataFusionError::ResourcesExhausted(_)) {
                true => Error::Memory { bytes: memory },
                false => explain(&e, &self.planned.uri),
            }
        })
    }

    /// What the scans of `expression` will read, a line each.
    pub(crate) async fn reads(&self) -> Result<Vec<String>> {
        reads(std::iter::once(&self.physical)).await
    }

    /// The plan, a line an operator.
    pub(crate) fn describe(&self, measured: bool) -> String {
        let text = match measured {
            true => DisplayableExecutionPlan::with_metrics(&*self.physical)
                .indent(false)
                .to_string(),
            false => displayable(&*self.physical).indent(false).to_string(),
        };
        text.trim_end().to_owned()
    }
}

/// `plan` with joins that let others run now and then: one that makes many rows
/// of few could not be stopped before its end.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let wrapped = plan.transform_up(|node| {
        Ok(match node.name().ends_with("JoinExec") {
            true => {
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
            }
            false => Transformed::no(node),
        })
    })?;
    Ok(wrapped.data)
}

/// The scans of `expression` below an operator; none: sums in their place.
fn gather(plan: &Arc<dyn ExecutionPlan>, scans: &mut Vec<Option<ExpressionScan>>) {
    if let Some(scan) = plan.downcast_ref::<ExpressionScan>() {
        scans.push(Some(scan.clone()));
    } else if let Some(aggregate) = plan.downcast_ref::<DenseAggregate>() {
        scans.push(aggregate.scan().cloned());
    }
    for child in plan.children() {
        gather(child, scans);
    }
}

/// Batches of one schema: those of a UNION differ in what may be NULL, and what
/// was planned may differ from what was computed. A name that two columns have,
/// as after a join with ON, gets a number, as DuckDB numbers them.
fn uniform(
    planned: SchemaRef,
    batches: Vec<RecordBatch>,
) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let computed = batches.first().map_or(planned, RecordBatch::schema);
    let mut fields: Vec<Field> = Vec::with_capacity(computed.fields().len());
    for field in computed.fields() {
        let taken = |name: &str| fields.iter().any(|f| f.name() == name);
        let numbered = (1..).map(|n| format!("{}_{n}", field.name()));
        let mut names = std::iter::once(field.name().clone()).chain(numbered);
        let name = names.find(|name| !taken(name)).unwrap_or_default();
        fields.push(Field::new(name, field.data_type().clone(), true));
    }
    let schema = Arc::new(Schema::new(fields));
    let batches = batches
        .into_iter()
        .map(|batch| {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| cast(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
        })
        .collect::<Result<_, _>>()?;
    Ok((schema, batches))
}

fn is_recursive(statement: &Statement) -> bool {
    struct Recursive;
    impl Visitor for Recursive {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            match query.with.as_ref().is_some_and(|with| with.recursive) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    statement.visit(&mut Recursive).is_break()
}

/// Registers every table under the names that [`Catalog::resolve`] gives.
fn register(
    context: &SessionContext,
    catalog: &Catalog,
    reading: &Arc<Reading>,
) -> Result<(), DataFusionError> {
    let names = context
        .catalog(CATALOG)
        .ok_or_else(|| DataFusionError::Internal("the session has no catalog".into()))?;
    for (at, handle) in catalog.handles.iter().enumerate() {
        names.register_schema(&handle.name, Arc::new(MemorySchemaProvider::new()))?;
        for table in handle.dataset.tables() {
            let provider = provide(context, handle, table, reading)?;
            if catalog.default == Some(at) {
                let bare = TableReference::partial(SCHEMA, table.name.as_str());
                context.register_table(bare, Arc::clone(&provider))?;
            }
            let full = TableReference::partial(handle.name.as_str(), table.name.as_str());
            context.register_table(full, provider)?;
        }
    }
    for frame in &catalog.frames {
        let name = TableReference::partial(SCHEMA, frame.name.as_str());
        context.register_table(name, frame.provider())?;
    }
    Ok(())
}

/// The table as it stands, or, of a sliced handle, its slice.
fn provide(
    context: &SessionContext,
    handle: &Handle,
    table: &Table,
    reading: &Arc<Reading>,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    if table.name == "expression" {
        let dataset = handle.dataset.clone();
        return Ok(Arc::new(Expression {
            wanted: Wanted::of(&handle.cells, &handle.genes, dataset.shape()),
            dataset,
            reading: Arc::clone(reading),
        }));
    }
    if matches!(table.name.as_str(), "cells" | "genes") {
        let wanted = Wanted::of(&handle.cells, &handle.genes, handle.dataset.shape());
        return Ok(Arc::new(Metadata {
            wanted: if table.name == "cells" {
                wanted.cells
            } else {
                wanted.genes
            },
            table: table.clone(),
        }));
    }
    let lance = Arc::clone(&table.lance);
    let whole = LanceTableProvider::new_with_ordering(lance, false, false, false);
    let whole: Arc<dyn TableProvider> = Arc::new(Counted {
        rows: table.rows as usize,
        inner: whole,
    });
    if handle.is_whole() {
        return Ok(whole);
    }
    let (cells, genes) = handle.dataset.shape();
    let mut frame = context.read_table(whole)?;
    for (column, selection, len) in [
        ("cell_integer_id", &handle.cells, cells),
        ("gene_integer_id", &handle.genes, genes),
        ("cell_integer_id_i", &handle.cells, cells),
        ("cell_integer_id_j", &handle.cells, cells),
        ("gene_integer_id_i", &handle.genes, genes),
        ("gene_integer_id_j", &handle.genes, genes),
    ] {
        if table.schema.field_with_name(column).is_ok() && !selection.is_all(len) {
            frame = restrict(context, frame, column, selection)?;
        }
    }
    Ok(frame.into_view())
}

fn restrict(
    context: &SessionContext,
    frame: DataFrame,
    column: &str,
    selection: &Selection,
) -> Result<DataFrame, DataFusionError> {
    if let Selection::Range {
        start,
        step: 1,
        len,
    } = *selection
    {
        let (start, end) = (start as i64, (start + len) as i64);
        return frame.filter(col(column).gt_eq(lit(start)).and(col(column).lt(lit(end))));
    }
    let schema = Arc::new(Schema::new(vec![Field::new(
        "_selected",
        DataType::UInt64,
        false,
    )]));
    let ids = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![Arc::new(UInt64Array::from_iter_values(selection.iter()))],
    )?;
    let ids = context.read_table(Arc::new(Held {
        schema,
        batches: vec![ids],
    }))?;
    frame.join(ids, JoinType::LeftSemi, &[column], &["_selected"], None)
}
