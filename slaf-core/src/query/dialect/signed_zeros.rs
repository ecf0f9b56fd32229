//! Comparisons in which -0.0 equals 0.0. Arrow's kernels order floats by all their
//! bits, so `x >= 0` would be false for -0.0, and so would `x = 0`.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Between;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

use super::expression_rule::rewrite;

#[derive(Debug)]
pub(crate) struct SignedZeros;

impl AnalyzerRule for SignedZeros {
    fn name(&self) -> &str {
        "signed_zeros"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, both_zeros)
    }
}

fn both_zeros(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            match (is_zero(&left), is_zero(&right)) {
                (false, true) if is_float(&left, schema)? => Transformed::yes(with_zero(*left, op)),
                (true, false) if is_float(&right, schema)? => {
                    Transformed::yes(with_zero(*right, op.swap().unwrap_or(op)))
                }
                _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Between(between) if is_float(&between.expr, schema)? => {
            let end = |end: Box<Expr>, zero: f64| match is_zero(&end) {
                true => Box::new(lit(zero)),
                false => end,
            };
            Transformed::yes(Expr::Between(Between {
                low: end(between.low, -0.0),
                high: end(between.high, 0.0),
                ..between
            }))
        }
        Expr::InList(mut list) if list.list.iter().any(is_zero) => {
            let floats = is_float(&list.expr, schema)?;
            if floats {
                list.list.extend([lit(0.0), lit(-0.0)]);
            }
            Transformed::new_transformed(Expr::InList(list), floats)
        }
        other => Transformed::no(other),
    })
}

/// `x op 0`, where -0.0 and 0.0 are equal.
fn with_zero(x: Expr, op: Operator) -> Expr {
    match op {
        Operator::Eq => x.clone().eq(lit(0.0)).or(x.eq(lit(-0.0))),
        Operator::NotEq => x.clone().not_eq(lit(0.0)).and(x.not_eq(lit(-0.0))),
        Operator::Lt => x.lt(lit(-0.0)),
        Operator::GtEq => x.gt_eq(lit(-0.0)),
        Operator::Gt => x.gt(lit(0.0)),
        _ => x.lt_eq(lit(0.0)),
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_float(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(matches!(
        expr.get_type(schema)?,
        DataType::Float32 | DataType::Float64
    ))
}

fn is_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(x)), _) => *x == 0.0,
        Expr::Literal(ScalarValue::Float32(Some(x)), _) => *x == 0.0,
        Expr::Literal(value, _) => {
            value.data_type().is_integer()
                && ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| *value == zero)
        }
        Expr::Negative(inner) => is_zero(inner),
        _ => false,
    }
}
