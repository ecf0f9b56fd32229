//! `cells` and `genes`: columns are read when a query first asks for them, and
//! kept for the next one. Of a sliced handle only its rows are there.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use lance::datafusion::LanceTableProvider;

use super::expression::{Mask, external};
use crate::dataset::Table;

/// Bytes of columns that one query may have kept.
const KEPT: usize = 1 << 30;
/// Rows that an operator takes at once.
const MORSEL: usize = 1 << 16;

#[derive(Debug)]
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

    fn size(&self, schema: &SchemaRef) -> usize {
        fn width(dtype: &DataType) -> usize {
            match dtype {
                DataType::FixedSizeList(item, n) => width(item.data_type()) * *n as usize,
                other => other.primitive_width().unwrap_or(24),
            }
        }
        let row: usize = schema.fields().iter().map(|f| width(f.data_type())).sum();
        row.saturating_mul(self.table.rows as usize)
    }
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
        let mut statistics = Statistics::new_unknown(&self.schema());
        statistics.num_rows = Precision::Exact(self.rows());
        Some(statistics)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.table.schema.project(columns)?),
            None => self.schema(),
        };
        if self.wanted.is_none() && self.size(&schema) > KEPT {
            let lance = Arc::clone(&self.table.lance);
            let lance = LanceTableProvider::new_with_ordering(lance, false, false, false);
            return lance.scan(session, projection, filters, limit).await;
        }
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let columns = self.table.kept(&names).await.map_err(external)?;
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
