//! Runs a plan with DataFusion's operators, which spill to disk if memory runs out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use futures::TryStreamExt;

use super::spilled_rows::SpilledRows;
use crate::query::planning::answer_schema::uniform;
use crate::query::planning::planned::Planned;
use crate::query::sources::task_context::task_context;
use crate::{Error, Result};

/// A statement as DataFusion operators.
pub(crate) struct Running {
    planned: Planned,
    physical: Arc<dyn ExecutionPlan>,
}

impl Running {
    /// Converts a plan to DataFusion operators.
    pub(crate) async fn of(planned: Planned) -> Result<Self> {
        let planner = planned.state.query_planner();
        let physical = planner
            .create_physical_plan(&planned.plan, &planned.state)
            .await;
        let physical = physical.and_then(yielding);
        Ok(Self {
            physical: physical.map_err(|e| planned.failure(&e))?,
            planned,
        })
    }

    pub(crate) async fn run(&self, memory: usize) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let outcome = async {
            let mut rows = execute_stream(
                Arc::clone(&self.physical),
                task_context(&self.planned.state),
            )?;
            let mut kept = SpilledRows::new(memory);
            while let Some(batch) = rows.try_next().await? {
                kept.push(batch)?;
            }
            Ok(uniform(Arc::clone(&self.planned.schema), kept.finish()?)?)
        };
        outcome.await.map_err(|e: DataFusionError| {
            match matches!(e.find_root(), DataFusionError::ResourcesExhausted(_)) {
                true => Error::Memory { bytes: memory },
                false => self.planned.failure(&e),
            }
        })
    }

    /// The root operator.
    pub(crate) fn operators(&self) -> &Arc<dyn ExecutionPlan> {
        &self.physical
    }

    /// The plan, one operator per line.
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

/// Makes joins yield to other tasks. Otherwise a join that makes many rows of few could
/// not be interrupted.
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
