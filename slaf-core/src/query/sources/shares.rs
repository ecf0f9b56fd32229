//! The aggregates of a plan whose parts other processes can compute.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;

use super::aggregate::DenseScan;
use super::errors::external;
use crate::ground::ipc::{from_bytes, to_bytes};

/// The aggregates, in the order of the plan. Their parts are numbered one after the
/// other.
pub(crate) struct Shares(Vec<DenseScan>);

impl Shares {
    pub(crate) fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut found = vec![];
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(scan) = source_as_provider(&scan.source)?.downcast_ref::<DenseScan>()
                && scan.parts() > 0
                && !found.iter().any(|found: &DenseScan| found.is(scan))
            {
                found.push(scan.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Self(found))
    }

    /// No shared aggregates: this process computes everything.
    pub(crate) fn none() -> Self {
        Self(vec![])
    }

    /// The number of parts of all aggregates.
    pub(crate) fn parts(&self) -> usize {
        self.0.iter().map(DenseScan::parts).sum()
    }

    /// The state of a part, to be sent to another process.
    pub(crate) async fn part(&self, number: usize) -> Result<Vec<u8>> {
        let (scan, part) = self.at(number)?;
        to_bytes(&[scan.part(part).await?]).map_err(external)
    }

    /// Leaves all parts to other processes.
    pub(crate) fn leave_to_others(&self) {
        self.0.iter().for_each(DenseScan::leave_to_others);
    }

    /// Takes the state of a part. Parts are taken in order.
    pub(crate) fn take(&self, number: usize, state: &[u8]) -> Result<()> {
        let (scan, _) = self.at(number)?;
        for state in from_bytes(state).map_err(external)? {
            scan.take(&state)?;
        }
        Ok(())
    }

    /// The aggregate of a part, and the number of the part in it.
    fn at(&self, number: usize) -> Result<(&DenseScan, usize)> {
        let mut left = number;
        for scan in &self.0 {
            if left < scan.parts() {
                return Ok((scan, left));
            }
            left -= scan.parts();
        }
        let text = format!("there is no part {number} of the statement");
        Err(DataFusionError::Internal(text))
    }
}
