//! Aggregates over `expression`, as tables and operators.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Statistics, project_schema};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream;

use super::aggregation::Aggregation;
use super::star_join::Side;
use crate::query::sources::expression::ExpressionScan;

/// An aggregate over `expression`, as a table.
#[derive(Debug, Clone)]
pub(crate) struct DenseScan(pub(super) Arc<Aggregation>);

impl DenseScan {
    /// Whether it is the very same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The number of parts in which it reads values; 0 if stored sums answer.
    pub(crate) fn parts(&self) -> usize {
        match self.0.sums {
            Some(_) => 0,
            None => self.0.parts(),
        }
    }

    /// The state of a part, for [`Self::take`] in another process.
    pub(crate) async fn part(&self, part: usize) -> Result<RecordBatch> {
        self.0.packed_part(part).await
    }

    /// Leaves the parts to other processes.
    pub(crate) fn leave_to_others(&self) {
        self.0.leave_to_others();
    }

    /// Takes the state of the next part.
    pub(crate) fn take(&self, state: &RecordBatch) -> Result<()> {
        self.0.take(state)
    }
}

#[async_trait]
impl TableProvider for DenseScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(
            Statistics::new_unknown(&self.0.schema)
                .with_num_rows(Precision::Inexact(self.0.groups())),
        )
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.0.schema, projection)?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Arc::new(DenseAggregate {
            work: Arc::clone(&self.0),
            projection: projection.cloned(),
            properties: Arc::new(properties),
        }))
    }
}

#[derive(Debug)]
pub(crate) struct DenseAggregate {
    work: Arc<Aggregation>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl DenseAggregate {
    /// The scan of `expression`; `None` if stored sums are used.
    pub(crate) fn scan(&self) -> Option<&ExpressionScan> {
        self.work.sums.is_none().then_some(&self.work.scan)
    }
}

impl DisplayAs for DenseAggregate {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = &self.work;
        write!(f, "DenseAggregate: ")?;
        match (work.cells.groups, work.genes.groups) {
            (1, 1) => write!(f, "one group")?,
            (groups, 1) => write!(f, "{groups} groups of cells")?,
            (1, groups) => write!(f, "{groups} groups of genes")?,
            (cells, genes) => write!(f, "{cells} × {genes} groups of cells and genes")?,
        }
        match work.sums {
            Some(Side::Cells) => write!(f, ", from the stored sums of the cells"),
            Some(Side::Genes) => write!(f, ", from the stored sums of the genes"),
            None => {
                if work.taken.get().is_some() {
                    write!(f, "; distributed over {} tasks", work.parts())?;
                }
                write!(f, "; ")?;
                work.scan.fmt_as(DisplayFormatType::Default, f)
            }
        }
    }
}

impl ExecutionPlan for DenseAggregate {
    fn name(&self) -> &str {
        "DenseAggregate"
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (work, projection) = (Arc::clone(&self.work), self.projection.clone());
        let batch = async move {
            let batch = work.run().await?;
            match projection {
                Some(columns) => Ok(batch.project(&columns)?),
                None => Ok(batch),
            }
        };
        let schema = Arc::clone(self.properties.eq_properties.schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            schema,
            stream::once(batch),
        )))
    }
}
