//! Converts literals of a statement to Polars.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use polars::prelude::{Expr as PlExpr, LiteralValue, NULL, Scalar, lit};

use super::types::dtype;
use super::unsupported::{Lowered, refuse};

/// The text of a string literal.
pub(super) fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text.clone()),
        _ => None,
    }
}

/// A literal with its exact type. Polars adapts the type of an untyped literal to its
/// neighbours.
fn typed(value: impl Into<Scalar>) -> PlExpr {
    PlExpr::Literal(LiteralValue::Scalar(value.into()))
}

pub(super) fn literal(value: &ScalarValue) -> Lowered<PlExpr> {
    let of = dtype(&value.data_type())?;
    if value.is_null() {
        return Ok(lit(NULL).cast(of));
    }
    Ok(match value {
        ScalarValue::Boolean(Some(value)) => lit(*value),
        ScalarValue::Int8(Some(value)) => typed(*value),
        ScalarValue::Int16(Some(value)) => typed(*value),
        ScalarValue::Int32(Some(value)) => typed(*value),
        ScalarValue::Int64(Some(value)) => typed(*value),
        ScalarValue::UInt8(Some(value)) => typed(*value),
        ScalarValue::UInt16(Some(value)) => typed(*value),
        ScalarValue::UInt32(Some(value)) => typed(*value),
        ScalarValue::UInt64(Some(value)) => typed(*value),
        ScalarValue::Float32(Some(value)) => typed(*value),
        ScalarValue::Float64(Some(value)) => typed(*value),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => lit(text.clone()),
        ScalarValue::Dictionary(_, inner) => literal(inner)?,
        other => return refuse(format!("a literal of type {}", other.data_type())),
    })
}
