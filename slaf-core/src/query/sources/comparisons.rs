//! The part of a filter that other frames can apply to return fewer rows: simple
//! comparisons. They may return too many rows, because we filter them again.

use arrow::datatypes::Schema;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

use crate::query::catalog::{Comparison, Value};

pub(crate) fn comparison(filter: &Expr, schema: &Schema) -> Option<Comparison> {
    let of = |expr: &Expr, sign, values: Option<Vec<Value>>| match expr {
        Expr::Column(column) if schema.field_with_name(&column.name).is_ok() => Some(Comparison {
            column: column.name.clone(),
            sign,
            values: values?,
        }),
        _ => None,
    };
    match filter {
        Expr::IsNull(inner) => of(inner, "null", Some(vec![])),
        Expr::IsNotNull(inner) => of(inner, "not null", Some(vec![])),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let one = value(right).map(|value| vec![value]);
            match op {
                Operator::Eq => of(left, "=", one),
                Operator::Lt => of(left, "<", one),
                Operator::LtEq => of(left, "<=", one),
                Operator::Gt => of(left, ">", one),
                Operator::GtEq => of(left, ">=", one),
                // DataFusion writes short lists as ORs.
                Operator::Or => either(comparison(left, schema)?, comparison(right, schema)?),
                _ => None,
            }
        }
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => of(expr, "in", list.iter().map(value).collect()),
        _ => None,
    }
}

fn either(left: Comparison, right: Comparison) -> Option<Comparison> {
    let listed = |of: &Comparison| matches!(of.sign, "=" | "in");
    let same = left.column == right.column && listed(&left) && listed(&right);
    same.then(|| Comparison {
        column: left.column,
        sign: "in",
        values: [left.values, right.values].concat(),
    })
}

fn value(expr: &Expr) -> Option<Value> {
    let Expr::Literal(value, _) = expr else {
        return None;
    };
    Some(match value {
        ScalarValue::Int8(Some(n)) => Value::Int((*n).into()),
        ScalarValue::Int16(Some(n)) => Value::Int((*n).into()),
        ScalarValue::Int32(Some(n)) => Value::Int((*n).into()),
        ScalarValue::Int64(Some(n)) => Value::Int(*n),
        ScalarValue::UInt8(Some(n)) => Value::Int((*n).into()),
        ScalarValue::UInt16(Some(n)) => Value::Int((*n).into()),
        ScalarValue::UInt32(Some(n)) => Value::Int((*n).into()),
        ScalarValue::Float32(Some(x)) => Value::Float((*x).into()),
        ScalarValue::Float64(Some(x)) => Value::Float(*x),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Value::Text(text.clone()),
        _ => return None,
    })
}
