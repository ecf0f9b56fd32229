//! Arithmetic that does not wrap. Counts are stored as uint16 and ids as
//! uint32, and DataFusion multiplies two uint16 into a uint16; so `+`, `-` and
//! `*` on integers are done in int64.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast};
use datafusion::optimizer::AnalyzerRule;

#[derive(Debug)]
pub(crate) struct WidenIntegers;

impl AnalyzerRule for WidenIntegers {
    fn name(&self) -> &str {
        "widen_integers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = Arc::new(merge_schema(&plan.inputs()));
            let rewritten = plan.map_expressions(|expr| {
                let name = expr.schema_name().to_string();
                let widened = expr.transform_up(|expr| widen(expr, &schema))?;
                // The column keeps the name that its author sees.
                Ok(widened.update_data(|expr| {
                    let renamed = expr.schema_name().to_string() != name;
                    if renamed { expr.alias(name) } else { expr }
                }))
            })?;
            if !rewritten.transformed {
                return Ok(rewritten);
            }
            rewritten.map_data(LogicalPlan::recompute_schema)
        })
        .map(|transformed| transformed.data)
    }
}

fn widen(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let arithmetic = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
    let narrow = |side: &Expr| Ok::<_, datafusion::error::DataFusionError>(is_narrow(&side.get_type(schema)?));
    if !arithmetic || !(narrow(&left)? || narrow(&right)?) || !integers(&left, &right, schema)? {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
    }
    let wide = |side: Box<Expr>| Box::new(cast(*side, DataType::Int64));
    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
        wide(left),
        op,
        wide(right),
    ))))
}

fn integers(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(left.get_type(schema)?.is_integer() && right.get_type(schema)?.is_integer())
}

fn is_narrow(dtype: &DataType) -> bool {
    dtype.is_integer() && *dtype != DataType::Int64
}
