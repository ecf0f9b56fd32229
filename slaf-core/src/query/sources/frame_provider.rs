//! Frames of the session as DataFusion tables.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, project_schema};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use lance::datafusion::LanceTableProvider;

use super::comparisons::comparison;
use super::lance_provider::LanceWithRowCount;
use crate::query::catalog::{Comparison, Frame, FrameRows, Open};

/// A frame as a DataFusion table.
pub(crate) fn provider(frame: &Frame) -> Arc<dyn TableProvider> {
    match &frame.rows {
        FrameRows::InMemory(batches) => {
            Arc::new(MemoryTable::of(Arc::clone(&frame.schema), batches.clone()))
        }
        FrameRows::Elsewhere(open) => Arc::new(Elsewhere {
            schema: Arc::clone(&frame.schema),
            first: frame.schema.fields().first().map(|f| f.name().clone()),
            open: Arc::clone(open),
            comparisons: vec![],
        }),
        FrameRows::Lance(table) => {
            let lance = Arc::clone(&table.lance);
            Arc::new(LanceWithRowCount {
                rows: table.rows as usize,
                inner: LanceTableProvider::new_with_ordering(lance, false, false, false),
            })
        }
    }
}

/// Rows in memory, with their number for the planner.
#[derive(Debug)]
pub(crate) struct MemoryTable {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    /// A description for EXPLAIN.
    pub(crate) about: String,
    /// The number of leading columns that identify a row; 0 if unknown.
    pub(crate) keys: usize,
}

impl MemoryTable {
    pub(crate) fn of(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self {
            schema,
            batches,
            about: "rows in memory".to_owned(),
            keys: 0,
        }
    }
}

#[async_trait]
impl TableProvider for MemoryTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.batches.iter().map(RecordBatch::num_rows).sum();
        Some(Statistics::new_unknown(&self.schema).with_num_rows(Precision::Exact(rows)))
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partition = vec![self.batches.clone()];
        let schema = Arc::clone(&self.schema);
        Ok(MemorySourceConfig::try_new_exec(
            &partition,
            schema,
            projection.cloned(),
        )?)
    }
}

struct Elsewhere {
    schema: SchemaRef,
    /// The column that is read to count rows if no column is requested.
    first: Option<String>,
    open: Open,
    comparisons: Vec<Comparison>,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elsewhere: {:?}", self.schema)
    }
}

#[async_trait]
impl TableProvider for Elsewhere {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let supported = filters
            .iter()
            .map(|filter| match comparison(filter, &self.schema) {
                Some(_) => TableProviderFilterPushDown::Inexact,
                None => TableProviderFilterPushDown::Unsupported,
            });
        Ok(supported.collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.schema, projection)?;
        let part: Arc<dyn PartitionStream> = Arc::new(Elsewhere {
            schema: Arc::clone(&schema),
            first: self.first.clone(),
            open: Arc::clone(&self.open),
            comparisons: filters
                .iter()
                .filter_map(|f| comparison(f, &self.schema))
                .collect(),
        });
        Ok(Arc::new(StreamingTableExec::try_new(
            schema,
            vec![part],
            None,
            vec![],
            false,
            limit,
        )?))
    }
}

impl PartitionStream for Elsewhere {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let (batches, open) = (stream.tx(), Arc::clone(&self.open));
        let (schema, first) = (Arc::clone(&self.schema), self.first.clone());
        let comparisons = self.comparisons.clone();
        stream.spawn_blocking(move || {
            let mut columns: Vec<String> =
                schema.fields().iter().map(|f| f.name().clone()).collect();
            if columns.is_empty() {
                columns.extend(first);
            }
            let reader =
                open(&columns, &comparisons).map_err(|e| DataFusionError::External(Box::new(e)))?;
            for batch in reader {
                let batch = batch?;
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let columns = batch.columns().iter().take(schema.fields().len());
                let columns = columns.cloned().collect();
                let schema = Arc::clone(&schema);
                let batch = RecordBatch::try_new_with_options(schema, columns, &options);
                if batches
                    .blocking_send(batch.map_err(DataFusionError::from))
                    .is_err()
                {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}
