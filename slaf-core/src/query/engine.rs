//! The general executor: DataFusion over Lance's table provider, which pushes
//! projections, filters and limits down to the scan.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::JoinType;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext, col, lit};
use datafusion::sql::TableReference;
use datafusion::sql::parser::Statement as DfStatement;
use lance::datafusion::LanceTableProvider;
use sqlparser::ast::Statement;

use super::arithmetic::OurArithmetic;
use super::catalog::{Catalog, Handle};

use crate::dataset::Table;
use crate::suggest::nearest;
use crate::{Error, Result, Selection};

const SCHEMA: &str = "public";

pub(crate) async fn run(
    catalog: &Catalog,
    statement: Statement,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let context = context()?;
    register(&context, catalog).map_err(|e| explain(&e))?;
    let outcome = async {
        let statement = DfStatement::Statement(Box::new(statement));
        let plan = context.state().statement_to_plan(statement).await?;
        let frame = context.execute_logical_plan(plan).await?;
        let planned: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await?;
        // What was planned may be nullable where what was computed is not.
        let schema = batches.first().map_or(planned, RecordBatch::schema);
        Ok((schema, batches))
    };
    outcome.await.map_err(|e: DataFusionError| explain(&e))
}

fn context() -> Result<SessionContext> {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema("slaf", SCHEMA);
    let options = config.options_mut();
    // `nCount_RNA` is a column's name as it stands, and NULLs sort last.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.default_null_ordering = "nulls_last".into();
    let mut rules: Vec<Arc<dyn datafusion::optimizer::AnalyzerRule + Send + Sync>> =
        vec![Arc::new(OurArithmetic)];
    rules.extend(Analyzer::new().rules);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_analyzer_rules(rules)
        .build();
    Ok(SessionContext::new_with_state(state))
}

/// Registers every table under the names that [`Catalog::resolve`] gives.
fn register(context: &SessionContext, catalog: &Catalog) -> Result<(), DataFusionError> {
    let names = context
        .catalog("slaf")
        .ok_or_else(|| DataFusionError::Internal("the session has no catalog".into()))?;
    for (at, handle) in catalog.handles.iter().enumerate() {
        names.register_schema(&handle.name, Arc::new(MemorySchemaProvider::new()))?;
        for table in handle.dataset.tables() {
            let provider = provide(context, handle, table)?;
            if catalog.default == Some(at) {
                let bare = TableReference::partial(SCHEMA, table.name.as_str());
                context.register_table(bare, Arc::clone(&provider))?;
            }
            let full = TableReference::partial(handle.name.as_str(), table.name.as_str());
            context.register_table(full, provider)?;
        }
    }
    for frame in &catalog.frames {
        let table = MemTable::try_new(Arc::clone(&frame.schema), vec![frame.batches.clone()])?;
        let name = TableReference::partial(SCHEMA, frame.name.as_str());
        context.register_table(name, Arc::new(table))?;
    }
    Ok(())
}

/// The table as it stands, or, of a sliced handle, its slice.
fn provide(
    context: &SessionContext,
    handle: &Handle,
    table: &Table,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let lance = Arc::clone(&table.lance);
    let whole: Arc<dyn TableProvider> =
        Arc::new(LanceTableProvider::new_with_ordering(lance, false, false, false));
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
    if let Selection::Range { start, step: 1, len } = *selection {
        let (start, end) = (start as i64, (start + len) as i64);
        return frame.filter(col(column).gt_eq(lit(start)).and(col(column).lt(lit(end))));
    }
    let schema = Arc::new(Schema::new(vec![Field::new("_selected", DataType::UInt64, false)]));
    let ids = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![Arc::new(UInt64Array::from_iter_values(selection.iter()))],
    )?;
    let ids = context.read_table(Arc::new(MemTable::try_new(schema, vec![vec![ids]])?))?;
    frame.join(ids, JoinType::LeftSemi, &[column], &["_selected"], None)
}

/// DataFusion's complaint in our words, with near misses for a column.
fn explain(error: &DataFusionError) -> Error {
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let datafusion::common::SchemaError::FieldNotFound {
            field,
            valid_fields,
        } = &**schema_error
    {
        return Error::Unknown {
            kind: "column",
            name: field.name.clone(),
            near: nearest(&field.name, valid_fields.iter().map(|f| f.name.as_str())),
        };
    }
    let text = root.strip_backtrace();
    let text = text
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("This feature is not implemented: ");
    Error::Sql {
        message: format!("{}.", crate::error::first_line(text)),
        hint: None,
    }
}
