//! Decides what is read: small tables are read before `expression`, one operator
//! computes the sums by cells and genes, and metadata is grouped by codes.

use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::aggregate::{by_axes, by_codes};
use super::narrow_joins::narrow;
use super::plan_facts::mentions_expression;

/// Rewrites the optimized `plan`: scans of `expression` are narrowed, and aggregates by
/// cells, genes or columns of few values are computed in arrays.
pub(crate) fn reduce_reads(
    plan: LogicalPlan,
    state: &SessionState,
) -> BoxFuture<'_, Result<LogicalPlan>> {
    async move {
        let of_values = mentions_expression(&plan);
        if !of_values && !aggregates(&plan) {
            return Ok(plan);
        }
        // From above, so that less is read below an aggregate; and again, when
        // what was aggregated below has become small.
        let plan = match plan {
            LogicalPlan::Join(join) if of_values => narrow(join, state).await?,
            other => other,
        };
        let mut inputs = vec![];
        for input in plan.inputs() {
            inputs.push(reduce_reads(input.clone(), state).await?);
        }
        let plan = if inputs.is_empty() {
            plan
        } else {
            plan.with_new_exprs(plan.expressions(), inputs)?
        };
        match plan {
            LogicalPlan::Join(join) if of_values => narrow(join, state).await,
            LogicalPlan::Aggregate(aggregate) if of_values => by_axes(aggregate, state).await,
            LogicalPlan::Aggregate(aggregate) => by_codes(aggregate, state).await,
            other => Ok(other),
        }
    }
    .boxed()
}

fn aggregates(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_))))
        .unwrap_or(true)
}
