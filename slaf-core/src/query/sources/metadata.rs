//! `cells` and `genes`. A column is read when a query first uses it, and kept for
//! the next one. For a sliced handle, they contain only its rows.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Column, Statistics, ToDFSchema, project_schema};
use datafusion::error::Result;
use datafusion::functions::expr_fn::isnan;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, lit, when};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::scalar::ScalarValue;
use lance::datafusion::LanceTableProvider;

use crate::Table;
use crate::ground::nan_as_null;
use crate::query::sources::errors::external;
use crate::query::sources::expression::Mask;

/// Maximum bytes of columns that one query may keep in memory.
const KEPT: usize = 1 << 30;
/// Rows per batch.
const MORSEL: usize = 1 << 16;

#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub(crate) table: Table,
    pub(crate) wanted: Mask,
}

impl Metadata {
    fn rows(&self) -> usize {
        match &self.wanted {
            Some(wanted) => wanted.count_set_bits(),
            None => self.table.rows as usize,
        }
    }

    /// Whether whole columns are read and kept, also for the other executor.
    pub(crate) fn is_cached(&self, schema: &Schema) -> bool {
        self.wanted.is_none() && self.fits(schema)
    }

    /// Whether the columns are small enough to be read and kept whole.
    pub(crate) fn fits(&self, schema: &Schema) -> bool {
        self.size(schema) <= KEPT
    }

    fn size(&self, schema: &Schema) -> usize {
        fn width(dtype: &DataType) -> usize {
            match dtype {
                DataType::FixedSizeList(item, n) => width(item.data_type()) * *n as usize,
                other => other.primitive_width().unwrap_or(24),
            }
        }
        let row: usize = schema.fields().iter().map(|f| width(f.data_type())).sum();
        row.saturating_mul(self.table.rows as usize)
    }

    /// Whether Lance evaluates a filter as we do: a missing float may be stored as NaN,
    /// which Lance compares as a number.
    fn is_sure(&self, filter: &Expr) -> bool {
        let of = |column: &Column| self.table.schema.field_with_name(&column.name).ok();
        let float = |column: &Column| of(column).is_none_or(nan_as_null::is_float);
        !filter.column_refs().into_iter().any(float)
    }
}

/// The rows of `scan` batch by batch, with NULL instead of NaN.
fn nan_as_null(
    scan: Arc<dyn ExecutionPlan>,
    schema: &SchemaRef,
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    if !schema
        .fields()
        .iter()
        .any(|field| nan_as_null::is_float(field))
    {
        return Ok(scan);
    }
    let names = Arc::clone(schema).to_dfschema()?;
    let columns = schema.fields().iter().map(|field| {
        let mut column = Expr::Column(Column::new_unqualified(field.name()));
        if nan_as_null::is_float(field) {
            let none = lit(ScalarValue::try_new_null(field.data_type())?);
            column = when(isnan(column.clone()), none).otherwise(column)?;
        }
        let column = session.create_physical_expr(column, &names)?;
        Ok((column, field.name().clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, scan)?))
}

#[async_trait]
impl TableProvider for Metadata {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(Statistics::new_unknown(&self.schema()).with_num_rows(Precision::Exact(self.rows())))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.table.schema, projection)?;
        if self.wanted.is_none() && !self.fits(&schema) {
            let lance = Arc::clone(&self.table.lance);
            let lance = LanceTableProvider::new_with_ordering(lance, false, false, false);
            let sure: Vec<Expr> = filters
                .iter()
                .filter(|f| self.is_sure(f))
                .cloned()
                .collect();
            let scan = lance.scan(session, projection, &sure, limit).await?;
            return nan_as_null(scan, &schema, session);
        }
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let columns = self.table.cached(&names).await.map_err(external)?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.table.rows as usize));
        let mut rows = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
        if let Some(wanted) = &self.wanted {
            rows = filter_record_batch(&rows, &BooleanArray::new(wanted.clone(), None))?;
        }
        let starts = (0..rows.num_rows()).step_by(MORSEL);
        let batches = starts.map(|at| rows.slice(at, MORSEL.min(rows.num_rows() - at)));
        let partition = vec![batches.collect::<Vec<_>>()];
        Ok(MemorySourceConfig::try_new_exec(&partition, schema, None)?)
    }
}
