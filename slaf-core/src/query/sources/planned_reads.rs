//! Describes what operators will read of `expression`, before they run.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use super::aggregate::DenseAggregate;
use super::expression::ExpressionScan;
use crate::Result;
use crate::ground::number_format::grouped;

/// What the scans of `expression` under some operators will read, one line per scan.
pub(crate) async fn reads(
    plans: impl Iterator<Item = &Arc<dyn ExecutionPlan>>,
) -> Result<Vec<String>> {
    let mut scans = vec![];
    plans.for_each(|plan| gather(plan, &mut scans));
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

/// Collects the scans of `expression` under an operator; `None` for stored sums.
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
