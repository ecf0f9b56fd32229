//! Decides what is read of `expression`: small tables are read first, and one
//! operator computes the sums by cells and genes.

use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::aggregate::by_axes;
use super::narrow_joins::narrow;
use super::plan_facts::mentions_expression;

/// The optimized `plan` with its scans of `expression` narrowed, and aggregates
/// by cells and genes done by one operator.
pub(crate) fn resolve(
    plan: LogicalPlan,
    state: &SessionState,
) -> BoxFuture<'_, Result<LogicalPlan>> {
    async move {
        if !mentions_expression(&plan) {
            return Ok(plan);
        }
        // From above, so that less is read below an aggregate; and again, when
        // what was aggregated below has become small.
        let plan = match plan {
            LogicalPlan::Join(join) => narrow(join, state).await?,
            other => other,
        };
        let mut inputs = vec![];
        for input in plan.inputs() {
            inputs.push(resolve(input.clone(), state).await?);
        }
        let plan = if inputs.is_empty() {
            plan
        } else {
            plan.with_new_exprs(plan.expressions(), inputs)?
        };
        match plan {
            LogicalPlan::Join(join) => narrow(join, state).await,
            LogicalPlan::Aggregate(aggregate) => by_axes(aggregate, state).await,
            other => Ok(other),
        }
    }
    .boxed()
}
