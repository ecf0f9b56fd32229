//! The operator that reads `expression`, and reports how much it will read.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::read_rows::{Batches, read};
use super::requested_ids::CELL;
use super::rows_per_core::RowPath;
use super::source::Expression;
use crate::Result as OurResult;

/// The operator that reads the requested rows of `expression`.
#[derive(Debug, Clone)]
pub(crate) struct ExpressionScan {
    source: Expression,
    schema: SchemaRef,
    parts: Vec<RowPath>,
    rows: u64,
    /// Whether all rows that are read are returned.
    exact: bool,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl ExpressionScan {
    pub(crate) fn new(
        source: Expression,
        schema: SchemaRef,
        path: RowPath,
        partitions: usize,
        limit: Option<usize>,
    ) -> Self {
        let rows = path.rows();
        let whole = matches!(path, RowPath::ByCell { .. }) && source.wanted.genes.is_none();
        // With a limit, one partition is read until there are enough rows.
        let partitions = if limit.is_some() { 1 } else { partitions };
        let (path, rows) = match limit {
            Some(n) if whole => (path.first(n as u64), rows.min(n as u64)),
            _ => (path, rows),
        };
        let exact = match &path {
            RowPath::ByCell { .. } => source.wanted.genes.is_none(),
            RowPath::ByGene { .. } => source.wanted.cells.is_none(),
        };
        let parts = path.split(partitions);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(parts.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            source,
            schema,
            parts,
            rows,
            exact,
            limit,
            properties: Arc::new(properties),
        }
    }

    /// The number of rows to read, and of all rows.
    pub(crate) fn rows(&self) -> (u64, u64) {
        (self.rows, self.source.dataset.expression.rows)
    }

    /// The approximate number of bytes on disk to read: each row's share of its
    /// columns.
    pub(crate) async fn bytes(&self) -> OurResult<u64> {
        let by_gene = matches!(self.parts.first(), Some(RowPath::ByGene { .. }));
        let companions = self.source.dataset.companions().await?;
        let by_gene = companions.filter(|_| by_gene).and_then(|c| c.by_gene());
        let table = by_gene.map_or(&self.source.dataset.expression, |(table, _)| table);
        let read = |name: &str| match name {
            "cell_delta" => true,
            CELL => false,
            name => self.schema.index_of(name).is_ok(),
        };
        let bytes: u64 = table
            .column_bytes()
            .await?
            .into_iter()
            .filter(|(name, _)| read(name))
            .map(|(_, bytes)| bytes)
            .sum();
        Ok((bytes as f64 * self.rows as f64 / table.rows.max(1) as f64) as u64)
    }
}

impl DisplayAs for ExpressionScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.parts.first() {
            Some(RowPath::ByGene { .. }) => "by gene",
            _ => "by cell",
        };
        let columns: Vec<&str> = self
            .schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        let table = &self.source.dataset.expression;
        write!(
            f,
            "ExpressionScan: {order}, {} of {} rows, columns=[{}]",
            self.rows,
            table.rows,
            columns.join(", ")
        )
    }
}

impl ExecutionPlan for ExpressionScan {
    fn name(&self) -> &str {
        "ExpressionScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        if partition.is_some() {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        }
        let mut statistics = Statistics::new_unknown(&self.schema);
        let rows = self.rows as usize;
        statistics.num_rows = match self.exact && self.limit.is_none() {
            true => Precision::Exact(rows),
            false => Precision::Inexact(rows),
        };
        Ok(Arc::new(statistics))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        // Batches are small, because operators check for an interrupt between two
        // batches.
        let morsel = context.session_config().batch_size();
        let batches = self.read(partition).flat_map(move |batch| {
            let pieces: Vec<Result<RecordBatch>> = match batch {
                Ok(batch) => (0..batch.num_rows())
                    .step_by(morsel)
                    .map(|at| Ok(batch.slice(at, morsel.min(batch.num_rows() - at))))
                    .collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(pieces)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches,
        )))
    }
}

impl ExpressionScan {
    /// The rows of a partition, in batches of the size in which they are decoded.
    pub(crate) fn read(&self, partition: usize) -> Batches {
        let Some(path) = self.parts.get(partition) else {
            return stream::empty().boxed();
        };
        self.source.reading.expect_rows(path.rows());
        let read = read(self.source.clone(), Arc::clone(&self.schema), path.clone());
        let batches = stream::once(read).try_flatten();
        let limited = batches.scan(self.limit.unwrap_or(usize::MAX), |left, batch| {
            let batch = batch.map(|batch| batch.slice(0, batch.num_rows().min(*left)));
            if *left == 0 {
                return futures::future::ready(None);
            }
            *left -= batch.as_ref().map_or(*left, RecordBatch::num_rows);
            futures::future::ready(Some(batch))
        });
        limited.boxed()
    }
}
