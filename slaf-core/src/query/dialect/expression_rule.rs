//! Rules that rewrite the expressions of a plan.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// `plan` with `rule` applied to each part of its expressions, from below, given the
/// schema of the node's inputs. A column keeps the name that its author sees.
pub(super) fn rewrite(
    plan: LogicalPlan,
    rule: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let schema = Arc::new(merge_schema(&plan.inputs()));
        let is_filter = matches!(plan, LogicalPlan::Filter(_));
        let rewritten = plan.map_expressions(|expr| {
            let name = expr.schema_name().to_string();
            let rewritten = expr.transform_up(|expr| rule(expr, &schema))?;
            Ok(rewritten.update_data(|expr| {
                let renamed = !is_filter && expr.schema_name().to_string() != name;
                if renamed { expr.alias(name) } else { expr }
            }))
        })?;
        if !rewritten.transformed {
            return Ok(rewritten);
        }
        rewritten.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(rewritten.data)
}
