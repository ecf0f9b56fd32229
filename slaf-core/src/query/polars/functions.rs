//! Converts scalar functions to Polars.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use polars::prelude::{Expr as PlExpr, NULL, RoundMode, coalesce, lit, when};

use super::literals::text;
use super::types::is_float;
use super::unsupported::{Lowered, refuse};

/// A function call: its arguments in the plan, their types, and their Polars
/// expressions.
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    pub(super) args: &'a [Expr],
    pub(super) of: &'a [DataType],
    pub(super) lowered: &'a [PlExpr],
}

pub(super) fn function(call: &Call<'_>) -> Lowered<PlExpr> {
    let Call { name, of, .. } = *call;
    let of_one_type = of.iter().all(|dtype| *dtype == of[0]);
    let found = match of {
        [one] => of_one(name, one, call.lowered[0].clone()),
        [_, _] if name != "substr" => of_two(call),
        [DataType::Utf8, ..] if name == "substr" && call.args[1..].iter().all(natural) => {
            let letters = call.lowered.get(2).cloned().unwrap_or(lit(NULL));
            let (of, from) = (call.lowered[0].clone(), call.lowered[1].clone());
            // SQL counts characters from 1, Polars from 0.
            Some(of.str().slice(from - lit(1), letters))
        }
        _ => None,
    };
    match (found, name) {
        (Some(found), _) => Ok(found),
        (None, "regexp_replace") => match replaced(call) {
            Some(replaced) => Ok(replaced),
            None => refuse("REGEXP_REPLACE with groups, or of a computed pattern"),
        },
        (None, "greatest" | "least") if of_one_type => extreme(call),
        (None, "coalesce") if of_one_type => Ok(coalesce(call.lowered)),
        _ => refuse(format!("the function {name}")),
    }
}

/// The greatest or least of the arguments that are not NULL.
fn extreme(call: &Call<'_>) -> Lowered<PlExpr> {
    let Call { name, of, .. } = call;
    if !of[0].is_integer() {
        return refuse(format!("{name} of {}", of[0]));
    }
    let mut found = call.lowered.iter().cloned();
    let first = found.next().ok_or("a function of nothing")?;
    Ok(found.fold(first, |best, next| {
        let better = match *name {
            "greatest" => next.clone().gt(best.clone()),
            _ => next.clone().lt(best.clone()),
        };
        let replaces = best.clone().is_null().or(better.fill_null(lit(false)));
        when(replaces).then(next).otherwise(best)
    }))
}

/// Replaces the first match, or all matches if the flags are `g`.
fn replaced(call: &Call<'_>) -> Option<PlExpr> {
    let texts: Option<Vec<String>> = call.args.iter().skip(1).map(text).collect();
    let of = call.lowered[0].clone();
    match texts.unwrap_or_default().as_slice() {
        [_, with, ..] if with.contains(['\\', '$']) => None,
        [pattern, with] => {
            let (pattern, with) = (lit(pattern.clone()), lit(with.clone()));
            Some(of.str().replace(pattern, with, false))
        }
        [pattern, with, flags] if flags == "g" => {
            let (pattern, with) = (lit(pattern.clone()), lit(with.clone()));
            Some(of.str().replace_all(pattern, with, false))
        }
        _ => None,
    }
}

fn of_one(name: &str, of: &DataType, x: PlExpr) -> Option<PlExpr> {
    Some(match name {
        // A comparison with NaN is true in Polars.
        "sign" | "signum" if is_float(of) => when(x.clone().is_nan())
            .then(x.clone())
            .when(x.clone().gt(lit(0.0)))
            .then(lit(1.0))
            .when(x.clone().lt(lit(0.0)))
            .then(lit(-1.0))
            .otherwise(x),
        "trunc" if is_float(of) => when(x.clone().lt(lit(0.0)))
            .then(x.clone().ceil())
            .otherwise(x.floor()),
        "abs" if is_float(of) || *of == DataType::Int64 => x.abs(),
        "ln" if is_float(of) => x.log(lit(std::f64::consts::E)),
        "exp" if is_float(of) => x.exp(),
        "sqrt" if is_float(of) => x.sqrt(),
        "log1p" if is_float(of) => x.log1p(),
        "floor" if is_float(of) => x.floor(),
        "ceil" if is_float(of) => x.ceil(),
        "round" if is_float(of) => x.round(0, RoundMode::HalfAwayFromZero),
        "isnan" if is_float(of) => x.is_nan(),
        "isinf" if is_float(of) => x.is_infinite(),
        "isfinite" if is_float(of) => x.is_finite(),
        "upper" if *of == DataType::Utf8 => x.str().to_uppercase(),
        "lower" if *of == DataType::Utf8 => x.str().to_lowercase(),
        "character_length" if *of == DataType::Utf8 => x.str().len_chars(),
        "octet_length" if *of == DataType::Utf8 => x.str().len_bytes(),
        _ => return None,
    })
}

fn of_two(call: &Call<'_>) -> Option<PlExpr> {
    let (of, arguments) = (call.of, call.args);
    let (x, y) = (call.lowered[0].clone(), call.lowered[1].clone());
    let texts = of.iter().all(|dtype| *dtype == DataType::Utf8);
    Some(match call.name {
        "left" if of[0] == DataType::Utf8 && natural(&arguments[1]) => x.str().head(y),
        "right" if of[0] == DataType::Utf8 && natural(&arguments[1]) => x.str().tail(y),
        "starts_with" if texts => x.str().starts_with(y),
        "ends_with" if texts => x.str().ends_with(y),
        "contains" if texts => x.str().contains_literal(y),
        "regexp_like" if texts && text(&arguments[1]).is_some() => x.str().contains(y, true),
        "nullif" if of[0] == of[1] => when(x.clone().eq(y)).then(lit(NULL)).otherwise(x),
        "power" if of.iter().all(is_float) => x.pow(y),
        "round" if is_float(&of[0]) => match decimals(&arguments[1]) {
            Some(decimals) => x.round(decimals, RoundMode::HalfAwayFromZero),
            None => return None,
        },
        _ => return None,
    })
}

/// Whether the expression is a literal of 1 or more.
fn natural(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n > 0)
}

/// The number of decimals to round to.
fn decimals(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => u32::try_from(*n).ok(),
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => u32::try_from(*n).ok(),
        _ => None,
    }
}
