//! The general executor: DataFusion over Lance's table provider, which pushes
//! projections, filters and limits down to the scan.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, TableProvider,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{JoinType, LogicalPlanBuilder};
use datafusion::optimizer::Analyzer;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext, col, lit};
use datafusion::sql::TableReference;
use datafusion::sql::parser::Statement as DfStatement;
use futures::TryStreamExt;
use lance::datafusion::LanceTableProvider;
use sqlparser::ast::{Query, Statement, Visit, Visitor};

use super::Options;
use super::arithmetic::OurArithmetic;
use super::catalog::{Catalog, Handle};
use super::counted::Counted;
use super::dense_scan::DenseAggregate;
use super::explain::grouped;
use super::expression::{Expression, Wanted};
use super::expression_scan::ExpressionScan;
use super::frame::Held;
use super::functions;
use super::kept::Kept;
use super::metadata::Metadata;
use super::nulls::KeepNulls;
use super::patterns;
use super::reading::Reading;
use super::resolve::resolve;
use super::slices::SliceTexts;

use crate::dataset::Table;
use crate::suggest::nearest;
use crate::{Error, Result, Selection};

const SCHEMA: &str = "public";

/// A statement that is ready to run.
pub(crate) struct Planned {
    state: SessionState,
    pub(crate) schema: SchemaRef,
    physical: Arc<dyn ExecutionPlan>,
    uri: String,
}

/// Plans `statement`, which reads; what it joins to `expression` is read here.
/// Joins by sorting are slower than those by hashing, and spill.
pub(crate) async fn plan(
    catalog: &Catalog,
    statement: Statement,
    options: &Options,
    sorted_joins: bool,
) -> Result<Planned> {
    let context = context(options.memory, sorted_joins, is_recursive(&statement))?;
    let uri = catalog.uri();
    let outcome = async {
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
        let planner = state.query_planner();
        let physical = planner.create_physical_plan(&plan, &state).await?;
        Ok((state, schema, yielding(physical)?))
    };
    let (state, schema, physical) = outcome
        .await
        .map_err(|e: DataFusionError| explain(&e, &uri))?;
    Ok(Planned {
        state,
        schema,
        physical,
        uri,
    })
}

impl Planned {
    pub(crate) async fn run(&self, memory: usize) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let outcome = async {
            let mut rows = execute_stream(Arc::clone(&self.physical), self.state.task_ctx())?;
            let mut kept = Kept::new(memory);
            while let Some(batch) = rows.try_next().await? {
                kept.push(batch)?;
            }
            Ok(uniform(Arc::clone(&self.schema), kept.finish()?)?)
        };
        outcome.await.map_err(|e: DataFusionError| {
            match matches!(e.find_root(), DataFusionError::ResourcesExhausted(_)) {
                true => Error::Memory { bytes: memory },
                false => explain(&e, &self.uri),
            }
        })
    }

    /// What the scans of `expression` will read, a line each.
    pub(crate) async fn reads(&self) -> Result<Vec<String>> {
        let mut scans = vec![];
        gather(&self.physical, &mut scans);
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

/// What all sessions have in common: functions, rules and settings.
static BASE: LazyLock<SessionState> = LazyLock::new(|| {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema("slaf", SCHEMA);
    let options = config.options_mut();
    // `nCount_RNA` is a column's name as it stands, and NULLs sort last.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.default_null_ordering = "nulls_last".into();
    // The side of metadata is built once, and the values are not shuffled.
    options.optimizer.hash_join_single_partition_threshold = 256 << 20;
    options.optimizer.hash_join_single_partition_threshold_rows = 20 << 20;
    let mut rules: Vec<Arc<dyn datafusion::optimizer::AnalyzerRule + Send + Sync>> =
        vec![Arc::new(OurArithmetic), Arc::new(KeepNulls)];
    rules.extend(Analyzer::new().rules);
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        // Before the default ones.
        .with_expr_planners(vec![Arc::new(SliceTexts)])
        .with_default_features()
        .with_analyzer_rules(rules)
        .build();
    for function in functions::all().into_iter().chain(patterns::all()) {
        // There is none of that name yet.
        let _ = state.register_udf(function);
    }
    state
});

/// A session with no tables that may take `memory` bytes, and then spills.
fn context(memory: usize, sorted_joins: bool, recursive: bool) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
        .build_arc()
        .map_err(|e| explain(&e, ""))?;
    let tables = MemoryCatalogProvider::new();
    let catalogs = MemoryCatalogProviderList::new();
    tables
        .register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new()))
        .map_err(|e| explain(&e, ""))?;
    catalogs.register_catalog("slaf".to_owned(), Arc::new(tables));
    let mut state = SessionStateBuilder::new_from_existing(BASE.clone())
        .with_runtime_env(runtime)
        .with_catalog_list(Arc::new(catalogs));
    let mut config = BASE.config().clone();
    let settings = config.options_mut();
    let reserved = &mut settings.execution.sort_spill_reservation_bytes;
    *reserved = (*reserved).min(memory / 8);
    settings.optimizer.prefer_hash_join = !sorted_joins;
    state = state.with_config(config);
    if recursive {
        // It takes away columns that the recursive term refers to by place.
        let rules = BASE.optimizers().iter();
        let rules = rules.filter(|rule| rule.name() != "optimize_projections");
        state = state.with_optimizer_rules(rules.cloned().collect());
    }
    let state = state.build();
    Ok(SessionContext::new_with_state(state))
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

/// Whether a function of that name, in lower case, makes one value of many.
pub(crate) fn is_aggregate(name: &str) -> bool {
    BASE.aggregate_functions().contains_key(name)
}

/// Registers every table under the names that [`Catalog::resolve`] gives.
fn register(
    context: &SessionContext,
    catalog: &Catalog,
    reading: &Arc<Reading>,
) -> Result<(), DataFusionError> {
    let names = context
        .catalog("slaf")
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

/// What DataFusion puts before what it has to say.
const PREFIXES: [&str; 7] = [
    "Error during planning: ",
    "This feature is not implemented: ",
    "External error: ",
    "Query Execution error: ",
    "Execution error: ",
    "Arrow error: ",
    "Internal error: ",
];

pub(crate) fn function_names() -> Vec<String> {
    let state = &*BASE;
    let scalar = state.scalar_functions().keys();
    let aggregate = state.aggregate_functions().keys();
    scalar
        .chain(aggregate)
        .chain(state.window_functions().keys())
        .cloned()
        .collect()
}

/// DataFusion's complaint in our words, with near misses for a column.
fn explain(error: &DataFusionError, uri: &str) -> Error {
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let datafusion::common::SchemaError::FieldNotFound {
            field,
            valid_fields,
        } = &**schema_error
    {
        let mut near = nearest(&field.name, valid_fields.iter().map(|f| f.name.as_str()));
        let mut name = field.name.clone();
        if near.contains(&name) {
            // It is of another table.
            let of_name = valid_fields.iter().filter(|f| f.name == name);
            near = of_name.map(datafusion::common::Column::flat_name).collect();
            name = field.flat_name();
        }
        return Error::Unknown {
            kind: "column",
            name,
            near,
        };
    }
    let text = root.strip_backtrace();
    if crate::error::is_storage_failure(&text) {
        return Error::storage(uri, &text);
    }
    let mut text = text.as_str();
    for prefix in PREFIXES {
        text = text.trim_start_matches(prefix);
    }
    if text.contains("does not support logical expression") {
        text = "An aggregate, a window or a subquery stands where none can be computed";
    }
    // A dump of the syntax tree tells nobody anything.
    if text.contains(" { ") {
        text = text.split('(').next().unwrap_or(text);
    }
    let text = crate::error::first_line(text);
    if let Some(call) = text.strip_prefix("Function '")
        && let Some((name, _)) = call.split_once("' failed to match any signature")
    {
        return Error::Sql {
            message: format!("`{name}` takes no arguments of this number or these types."),
            hint: Some("Cast them: `CAST(x AS DOUBLE)`.".into()),
        };
    }
    if let Some(name) = text.strip_prefix("Invalid function '") {
        let name = name.split('\'').next().unwrap_or(name).to_owned();
        if BASE.window_functions().contains_key(&name.to_lowercase()) {
            return Error::Sql {
                message: format!("`{name}` is a window function, and has no OVER."),
                hint: Some(format!("Write `{name}() OVER (ORDER BY …)`.")),
            };
        }
        let known = function_names();
        let near = nearest(&name, known.iter().map(String::as_str));
        return Error::Unknown {
            kind: "function",
            name,
            near,
        };
    }
    Error::Sql {
        message: format!("{text}."),
        hint: None,
    }
}
