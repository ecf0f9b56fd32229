//! Scalar functions.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use polars::prelude::{Expr as PlExpr, NULL, RoundMode, coalesce, lit, when};

use super::expressions::{dtype, is_float, text};
use super::{Lowered, Scope, refuse};

impl Scope<'_> {
    pub(super) fn function(&self, call: &ScalarFunction) -> Lowered<PlExpr> {
        let gives = self.dtype(&Expr::ScalarFunction(call.clone()))?;
        let of = call.args.iter().map(|arg| self.dtype(arg));
        let of = of.collect::<Lowered<Vec<_>>>()?;
        let name = call.func.name();
        let found = match of.as_slice() {
            [one] => self.of_one(name, one, &call.args[0])?,
            [_, _] if name != "substr" => self.of_two(name, &of, &call.args)?,
            [DataType::Utf8, ..] if name == "substr" && call.args[1..].iter().all(natural) => {
                let from = self.expr(&call.args[1])?;
                let letters = match call.args.get(2) {
                    Some(letters) => self.expr(letters)?,
                    None => lit(NULL),
                };
                let of = self.expr(&call.args[0])?;
                // From 1.
                Some(of.str().slice(from - lit(1), letters))
            }
            _ => None,
        };
        let found = match (found, name) {
            (Some(found), _) => found,
            (None, "regexp_replace") => match self.replaced(&call.args)? {
                Some(replaced) => replaced,
                None => return refuse("REGEXP_REPLACE with groups, or of a computed pattern"),
            },
            (None, "greatest" | "least") if of.iter().all(|dtype| *dtype == of[0]) => {
                if !of[0].is_integer() {
                    return refuse(format!("{name} of {}", of[0]));
                }
                let mut found = self.exprs(&call.args)?.into_iter();
                let first = found.next().ok_or("a function of nothing")?;
                found.fold(first, |best, next| {
                    let better = match name {
                        "greatest" => next.clone().gt(best.clone()),
                        _ => next.clone().lt(best.clone()),
                    };
                    let replaces = best.clone().is_null().or(better.fill_null(lit(false)));
                    when(replaces).then(next).otherwise(best)
                })
            }
            (None, "coalesce") if of.iter().all(|dtype| *dtype == of[0]) => {
                coalesce(&self.exprs(&call.args)?)
            }
            _ => return refuse(format!("the function {name}")),
        };
        Ok(found.cast(dtype(&gives)?))
    }

    /// The first match replaced, or with `g` all.
    fn replaced(&self, args: &[Expr]) -> Lowered<Option<PlExpr>> {
        let texts: Option<Vec<String>> = args.iter().skip(1).map(text).collect();
        let of = self.expr(&args[0])?;
        Ok(match texts.unwrap_or_default().as_slice() {
            [_, with, ..] if with.contains(['\\', '$']) => None,
            [pattern, with] => Some(of.str().replace(
                lit(pattern.clone()),
                lit(with.clone()),
                false,
            )),
            [pattern, with, flags] if flags == "g" => {
                let (pattern, with) = (lit(pattern.clone()), lit(with.clone()));
                Some(of.str().replace_all(pattern, with, false))
            }
            _ => None,
        })
    }

    fn of_one(&self, name: &str, of: &DataType, argument: &Expr) -> Lowered<Option<PlExpr>> {
        let x = self.expr(argument)?;
        Ok(Some(match name {
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
            _ => return Ok(None),
        }))
    }

    fn of_two(&self, name: &str, of: &[DataType], arguments: &[Expr]) -> Lowered<Option<PlExpr>> {
        let (x, y) = (self.expr(&arguments[0])?, self.expr(&arguments[1])?);
        let texts = of.iter().all(|dtype| *dtype == DataType::Utf8);
        Ok(Some(match name {
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
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }
}

/// Whether it is a number of 1 or more.
fn natural(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n > 0)
}

/// Decimals that a number is rounded to.
fn decimals(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => u32::try_from(*n).ok(),
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => u32::try_from(*n).ok(),
        _ => None,
    }
}
