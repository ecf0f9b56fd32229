//! Arithmetic with DuckDB's results. Counts are stored as uint16 and ids as uint32,
//! and DataFusion multiplies two uint16 into a uint16, which overflows. So `+`,
//! `-`, `*` and sums of integers are computed in int64. A float that is cast to an
//! integer is rounded half to even, not truncated. The length of a list is the
//! number of its elements, not that of its text. A date plus an interval is a timestamp.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::functions::math::expr_fn::{abs, round, trunc};
use datafusion::functions_nested::expr_fn::array_length;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, cast, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use super::expression_rule::rewrite;

#[derive(Debug)]
pub(crate) struct OurArithmetic;

impl AnalyzerRule for OurArithmetic {
    fn name(&self) -> &str {
        "our_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite(plan, ours)
    }
}

fn ours(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::Cast(Cast { expr: inner, field }) = &expr
        && field.data_type().is_integer()
        && inner.get_type(schema)?.is_floating()
    {
        let rounded = round_half_even((**inner).clone())?;
        return Ok(Transformed::yes(cast(rounded, field.data_type().clone())));
    }
    if let Expr::ScalarFunction(call) = &expr
        && call.name() == "character_length"
        && let [list] = call.args.as_slice()
        && matches!(
            list.get_type(schema)?,
            DataType::List(_) | DataType::LargeList(_)
        )
    {
        return Ok(Transformed::yes(array_length(list.clone())));
    }
    if let Expr::AggregateFunction(call) = &expr
        && call.func.name() == "sum"
        && let [value] = call.params.args.as_slice()
        && value.get_type(schema)?.is_unsigned_integer()
    {
        let mut call = call.clone();
        call.params.args = vec![cast(value.clone(), DataType::Int64)];
        return Ok(Transformed::yes(Expr::AggregateFunction(call)));
    }
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let to_date = matches!(left.get_type(schema)?, DataType::Date32 | DataType::Date64)
        && matches!(op, Operator::Plus | Operator::Minus)
        && matches!(right.get_type(schema)?, DataType::Interval(_));
    if to_date {
        let stamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let left = Box::new(cast(*left, stamp));
        return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr {
            left,
            op,
            right,
        })));
    }
    let arithmetic = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
    let narrow = |side: &Expr| {
        Ok::<_, datafusion::error::DataFusionError>(is_narrow(&side.get_type(schema)?))
    };
    if !arithmetic || !(narrow(&left)? || narrow(&right)?) || !integers(&left, &right, schema)? {
        return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr {
            left,
            op,
            right,
        })));
    }
    let wide = |side: Box<Expr>| Box::new(cast(*side, DataType::Int64));
    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
        wide(left),
        op,
        wide(right),
    ))))
}

fn round_half_even(x: Expr) -> Result<Expr> {
    let fraction = abs(x.clone() - trunc(vec![x.clone()]));
    let even = round(vec![x.clone() / lit(2.0)]) * lit(2.0);
    when(fraction.eq(lit(0.5)), even).otherwise(round(vec![x]))
}

fn integers(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(left.get_type(schema)?.is_integer() && right.get_type(schema)?.is_integer())
}

fn is_narrow(dtype: &DataType) -> bool {
    dtype.is_integer() && *dtype != DataType::Int64
}
