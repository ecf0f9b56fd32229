//! Keeps NULL from becoming TRUE. DataFusion's simplifier merges `a NOT IN ('x') OR
//! a NOT IN ('y')` into `a NOT IN ()`, and that into TRUE; if `a` is NULL, the
//! result should be NULL. In the same way, `a = 1 AND a = 2` becomes FALSE below a
//! NOT. Such pairs are rewritten so that the simplifier does not merge them.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, expr::InList, lit, when};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

#[derive(Debug)]
pub(crate) struct KeepNulls;

impl AnalyzerRule for KeepNulls {
    fn name(&self) -> &str {
        "keep_nulls"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expr| expr.transform_up(guard))
        })
        .map(|transformed| transformed.data)
    }
}

fn guard(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let merged = match (membership(&left), membership(&right)) {
        (Some((a, not_a)), Some((b, not_b))) if a == b => match op {
            Operator::Or => not_a && not_b,
            Operator::And => !(not_a && not_b),
            _ => false,
        },
        _ => false,
    };
    let right = match membership(&right) {
        Some((subject, _)) if merged => {
            let known = subject.clone().is_not_null();
            Box::new(when(known, *right).otherwise(lit(ScalarValue::Boolean(None)))?)
        }
        _ => right,
    };
    let expr = Expr::BinaryExpr(BinaryExpr { left, op, right });
    Ok(if merged {
        Transformed::yes(expr)
    } else {
        Transformed::no(expr)
    })
}

/// The operand of an IN list, or of a comparison with one value, and whether the test
/// is negated.
fn membership(expr: &Expr) -> Option<(&Expr, bool)> {
    match expr {
        Expr::InList(InList { expr, negated, .. }) => Some((expr, *negated)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let negated = match op {
                Operator::Eq => false,
                Operator::NotEq => true,
                _ => return None,
            };
            match (&**left, &**right) {
                (Expr::Literal(..), subject) | (subject, Expr::Literal(..)) => {
                    Some((subject, negated))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
