//! The tables of a session, under their names in the catalog.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{JoinType, LogicalPlanBuilder, UNNAMED_TABLE, col, lit};
use datafusion::sql::TableReference;
use lance::datafusion::LanceTableProvider;

use crate::query::catalog::{Catalog, Handle};
use crate::query::dialect::session::{CATALOG, SCHEMA};
use crate::query::request::ReadProgress;
use crate::query::sources::expression::{Expression, Wanted};
use crate::query::sources::frame_provider::{MemoryTable, provider};
use crate::query::sources::lance_provider::LanceWithRowCount;
use crate::query::sources::metadata::Metadata;
use crate::{Selection, Table};

/// Registers every table under the names that [`Catalog::resolve`] gives.
pub(super) fn register(
    state: &SessionState,
    catalog: &Catalog,
    reading: &Arc<ReadProgress>,
) -> Result<(), DataFusionError> {
    let names = state.catalog_list().catalog(CATALOG);
    let names =
        names.ok_or_else(|| DataFusionError::Internal("the session has no catalog".into()))?;
    let bare = state.schema_for_ref(TableReference::partial(SCHEMA, ""))?;
    for (at, handle) in catalog.handles.iter().enumerate() {
        let full = Arc::new(MemorySchemaProvider::new());
        for table in handle.dataset.tables() {
            let provider = provide(handle, table, reading)?;
            if catalog.default == Some(at) {
                bare.register_table(table.name.clone(), Arc::clone(&provider))?;
            }
            full.register_table(table.name.clone(), provider)?;
        }
        names.register_schema(&handle.name, full)?;
    }
    for frame in &catalog.frames {
        bare.register_table(frame.name.clone(), provider(frame))?;
    }
    Ok(())
}

/// The table, or its slice if the handle is sliced.
fn provide(
    handle: &Handle,
    table: &Table,
    reading: &Arc<ReadProgress>,
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
    let whole: Arc<dyn TableProvider> = Arc::new(LanceWithRowCount {
        rows: table.rows as usize,
        inner: whole,
    });
    if handle.is_whole() {
        return Ok(whole);
    }
    let (cells, genes) = handle.dataset.shape();
    let mut rows = scan(whole)?;
    for (column, selection, len) in [
        ("cell_integer_id", &handle.cells, cells),
        ("gene_integer_id", &handle.genes, genes),
        ("cell_integer_id_i", &handle.cells, cells),
        ("cell_integer_id_j", &handle.cells, cells),
        ("gene_integer_id_i", &handle.genes, genes),
        ("gene_integer_id_j", &handle.genes, genes),
    ] {
        if table.schema.field_with_name(column).is_ok() && !selection.is_all(len) {
            rows = restrict(rows, column, selection)?;
        }
    }
    Ok(Arc::new(ViewTable::new(rows.build()?, None)))
}

fn scan(table: Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder, DataFusionError> {
    LogicalPlanBuilder::scan(UNNAMED_TABLE, provider_as_source(table), None)
}

fn restrict(
    rows: LogicalPlanBuilder,
    column: &str,
    selection: &Selection,
) -> Result<LogicalPlanBuilder, DataFusionError> {
    if let Selection::Range {
        start,
        step: 1,
        len,
    } = *selection
    {
        let (start, end) = (start as i64, (start + len) as i64);
        return rows.filter(col(column).gt_eq(lit(start)).and(col(column).lt(lit(end))));
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
    let ids = scan(Arc::new(MemoryTable::of(schema, vec![ids])))?.build()?;
    rows.join(
        ids,
        JoinType::LeftSemi,
        (vec![column], vec!["_selected"]),
        None,
    )
}
