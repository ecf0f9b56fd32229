//! Expressions of the plan in Polars' words.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Alias, Between, Case, Cast, InList, Like, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use polars::error::polars_bail;
use polars::prelude::arity::binary_elementwise_values;
use polars::prelude::{
    Column, DataType as PlDataType, Expr as PlExpr, Float32Chunked, Float64Chunked, IntoColumn,
    LiteralValue, NULL, Scalar, Series, col, lit, when,
};

use super::{Lowered, Scope, leaves, plain, refuse};

/// Longer lists are looked up in a set.
const FEW: usize = 8;

/// The type in Polars.
pub(super) fn dtype(dtype: &DataType) -> Lowered<PlDataType> {
    Ok(match plain(dtype) {
        DataType::Null => PlDataType::Null,
        DataType::Boolean => PlDataType::Boolean,
        DataType::Int8 => PlDataType::Int8,
        DataType::Int16 => PlDataType::Int16,
        DataType::Int32 => PlDataType::Int32,
        DataType::Int64 => PlDataType::Int64,
        DataType::UInt8 => PlDataType::UInt8,
        DataType::UInt16 => PlDataType::UInt16,
        DataType::UInt32 => PlDataType::UInt32,
        DataType::UInt64 => PlDataType::UInt64,
        DataType::Float32 => PlDataType::Float32,
        DataType::Float64 => PlDataType::Float64,
        DataType::Utf8 => PlDataType::String,
        DataType::Date32 => PlDataType::Date,
        other => return refuse(format!("values of type {other}")),
    })
}

pub(super) fn is_float(dtype: &DataType) -> bool {
    matches!(dtype, DataType::Float32 | DataType::Float64)
}

/// Whether no row has a say in it.
pub(super) fn is_constant(expr: &Expr) -> bool {
    expr.column_refs().is_empty()
}

impl Scope<'_> {
    pub(super) fn dtype(&self, expr: &Expr) -> Lowered<DataType> {
        let dtype = expr.get_type(self.schema).map_err(|e| e.to_string())?;
        Ok(plain(&dtype))
    }

    pub(super) fn exprs(&self, exprs: &[Expr]) -> Lowered<Vec<PlExpr>> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    pub(super) fn expr(&self, expr: &Expr) -> Lowered<PlExpr> {
        Ok(match expr {
            Expr::Alias(Alias { expr, .. }) => self.expr(expr)?,
            Expr::Column(column) => {
                let place = self.schema.maybe_index_of_column(column);
                let place = place.ok_or_else(|| format!("a column {column} of elsewhere"))?;
                col(self.names[place].clone())
            }
            Expr::Literal(value, _) => literal(value)?,
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Like(like) => self.like(like)?,
            Expr::Not(inner) => self.expr(inner)?.not(),
            Expr::IsNull(inner) | Expr::IsUnknown(inner) => self.expr(inner)?.is_null(),
            Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => self.expr(inner)?.is_not_null(),
            Expr::IsTrue(inner) => self.expr(inner)?.fill_null(lit(false)),
            Expr::IsNotTrue(inner) => self.expr(inner)?.fill_null(lit(false)).not(),
            Expr::IsFalse(inner) => self.expr(inner)?.fill_null(lit(true)).not(),
            Expr::IsNotFalse(inner) => self.expr(inner)?.fill_null(lit(true)),
            Expr::Negative(inner) => {
                let dtype = self.dtype(inner)?;
                if !(is_float(&dtype) || dtype == DataType::Int64) {
                    return refuse("minus a small integer");
                }
                -self.expr(inner)?
            }
            Expr::Between(Between {
                expr,
                negated,
                low,
                high,
            }) => {
                self.alike(expr, low)?;
                self.alike(expr, high)?;
                let of = self.expr(expr)?;
                let within = of.clone().gt_eq(self.expr(low)?);
                let within = within.and(of.lt_eq(self.expr(high)?));
                if *negated { within.not() } else { within }
            }
            Expr::Case(case) => self.case(case)?,
            Expr::Cast(Cast { expr, field }) => self.cast(expr, field.data_type(), true)?,
            Expr::TryCast(TryCast { expr, field }) => self.cast(expr, field.data_type(), false)?,
            Expr::InList(list) => self.in_list(list)?,
            Expr::ScalarFunction(call) => self.function(call)?,
            Expr::SimilarTo(_) => return refuse("SIMILAR TO"),
            Expr::AggregateFunction(_) | Expr::WindowFunction(_) => {
                return refuse("an aggregate inside of an expression");
            }
            Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::ScalarSubquery(_)
            | Expr::OuterReferenceColumn(..) => {
                return refuse("a subquery inside of an expression");
            }
            Expr::GroupingSet(_) => return refuse("ROLLUP, CUBE or GROUPING SETS"),
            Expr::HigherOrderFunction(_) | Expr::Lambda(_) | Expr::LambdaVariable(_) => {
                return refuse("a function of a function");
            }
            Expr::Unnest(_) => return refuse("lists that are unnested"),
            Expr::ScalarVariable(..) | Expr::Placeholder(_) => return refuse("a variable"),
            #[expect(deprecated, reason = "a variant of the enum all the same")]
            Expr::Wildcard { .. } => return refuse("a wildcard"),
        })
    }

    /// Both are of one type, so that nothing is converted in between.
    fn alike(&self, left: &Expr, right: &Expr) -> Lowered<DataType> {
        let (left, right) = (self.dtype(left)?, self.dtype(right)?);
        match (left == right, left.is_nested()) {
            (true, false) => Ok(left),
            (true, true) => refuse("a comparison of lists"),
            (false, _) => refuse(format!("{left} beside {right}")),
        }
    }

    fn binary(&self, binary: &BinaryExpr) -> Lowered<PlExpr> {
        let BinaryExpr { left, op, right } = binary;
        let both = || Ok::<_, String>((self.expr(left)?, self.expr(right)?));
        if matches!(op, Operator::And | Operator::Or) {
            let (l, r) = both()?;
            return Ok(match op {
                Operator::And => l.and(r),
                _ => l.or(r),
            });
        }
        let dtype = self.alike(left, right)?;
        dtype_known(&dtype)?;
        let (l, r) = both()?;
        let wide = is_float(&dtype) || dtype == DataType::Int64;
        Ok(match op {
            Operator::Eq => l.eq(r),
            Operator::NotEq => l.neq(r),
            Operator::Lt => l.lt(r),
            Operator::LtEq => l.lt_eq(r),
            Operator::Gt => l.gt(r),
            Operator::GtEq => l.gt_eq(r),
            Operator::IsDistinctFrom => l.neq_missing(r),
            Operator::IsNotDistinctFrom => l.eq_missing(r),
            Operator::Plus if wide => l + r,
            Operator::Minus if wide => l - r,
            Operator::Multiply if wide => l * r,
            Operator::Divide if is_float(&dtype) => quotient(l, r),
            // Polars rounds down, SQL to zero.
            Operator::Divide if dtype == DataType::Int64 && is_not_zero(right) => {
                let down = l.clone().floor_div(r.clone());
                let (below, rest) = (l.clone().lt(lit(0)), (l % r.clone()).neq(lit(0)));
                let rounded = rest.and(below.neq(r.lt(lit(0))));
                down + rounded.cast(PlDataType::Int64)
            }
            Operator::Modulo if wide && !is_float(&dtype) && is_not_zero(right) => {
                // Polars' has the sign of the divisor, SQL's that of what is divided.
                let rest = l.clone() % r.clone();
                let other_sign = l.lt(lit(0)).neq(r.clone().lt(lit(0)));
                when(rest.clone().neq(lit(0)).and(other_sign))
                    .then(rest.clone() - r)
                    .otherwise(rest)
            }
            Operator::StringConcat if dtype == DataType::Utf8 => l + r,
            other => return refuse(format!("the operator {other} of {dtype}")),
        })
    }

    fn like(&self, like: &Like) -> Lowered<PlExpr> {
        let Like {
            negated,
            expr,
            pattern,
            escape_char: None,
            case_insensitive,
        } = like
        else {
            return refuse("LIKE with ESCAPE");
        };
        let Some(pattern) = text(pattern) else {
            return refuse("LIKE with a pattern that is computed");
        };
        let of = self.expr(expr)?;
        let matches = match (simple(&pattern), case_insensitive) {
            (Some(Simple::Is(text)), false) => of.eq(lit(text)),
            (Some(Simple::Begins(text)), false) => of.str().starts_with(lit(text)),
            (Some(Simple::Ends(text)), false) => of.str().ends_with(lit(text)),
            (Some(Simple::Has(text)), false) => of.str().contains_literal(lit(text)),
            _ => of
                .str()
                .contains(lit(regex_of(&pattern, *case_insensitive)), true),
        };
        Ok(if *negated { matches.not() } else { matches })
    }

    fn case(&self, case: &Case) -> Lowered<PlExpr> {
        let Case {
            expr: subject,
            when_then_expr,
            else_expr,
        } = case;
        let gives = self.dtype(&Expr::Case(case.clone()))?;
        let mut otherwise = match else_expr {
            Some(expr) => self.expr(expr)?,
            None => lit(NULL),
        };
        for (condition, result) in when_then_expr.iter().rev() {
            let condition = match subject {
                Some(subject) => {
                    self.alike(subject, condition)?;
                    self.expr(subject)?.eq(self.expr(condition)?)
                }
                None => self.expr(condition)?,
            };
            otherwise = when(condition)
                .then(self.expr(result)?)
                .otherwise(otherwise);
        }
        Ok(otherwise.cast(dtype(&gives)?))
    }

    fn cast(&self, inner: &Expr, to: &DataType, strict: bool) -> Lowered<PlExpr> {
        let from = self.dtype(inner)?;
        let (to, of) = (plain(to), self.expr(inner)?);
        if from == to {
            return Ok(of);
        }
        let number = |dtype: &DataType| dtype.is_numeric() || *dtype == DataType::Boolean;
        let known = (number(&from) && number(&to) && from != DataType::Boolean)
            || (from == DataType::Boolean && to.is_integer())
            || (from.is_integer() && to == DataType::Utf8)
            || from == DataType::Null;
        if !known || to == DataType::Boolean {
            return refuse(format!("a cast of {from} to {to}"));
        }
        let to = dtype(&to)?;
        Ok(if strict {
            of.strict_cast(to)
        } else {
            of.cast(to)
        })
    }

    fn in_list(&self, list: &InList) -> Lowered<PlExpr> {
        let InList {
            expr,
            list,
            negated,
        } = list;
        let of = self.expr(expr)?;
        let of_type = self.dtype(expr)?;
        let mut values = vec![];
        for item in list {
            match item {
                Expr::Literal(value, _) if !value.is_null() => values.push(value.clone()),
                _ => return refuse("a list with NULL or with what is computed"),
            }
            self.alike(expr, item)?;
        }
        let within = if values.len() <= FEW {
            let equal = values
                .iter()
                .map(|value| Ok(of.clone().eq(literal(value)?)));
            let equal = equal.collect::<Lowered<Vec<_>>>()?;
            let any = equal.into_iter().reduce(PlExpr::or);
            any.ok_or("an empty list")?
        } else {
            let array = ScalarValue::iter_to_array(values).map_err(|e| e.to_string())?;
            let column = leaves::column("", &array)?;
            let column = column.cast(&dtype(&of_type)?).map_err(|e| e.to_string())?;
            let series: Series = column.take_materialized_series();
            of.is_in(lit(series).implode(true), false)
        };
        Ok(if *negated { within.not() } else { within })
    }
}

/// `l / r` of floats of one type, rounded once. Polars' own multiplies by 1 / r where
/// r is one value, by which 49.0 / 49.0 is less than 1.
pub(super) fn quotient(l: PlExpr, r: PlExpr) -> PlExpr {
    let divided = |columns: &mut [Column]| {
        let [l, r] = columns else {
            polars_bail!(ComputeError: "a quotient is of two numbers");
        };
        let long = |column: &Column, beside: &Column| match (column.len(), beside.len()) {
            (1, rows) => column.new_from_index(0, rows),
            _ => column.clone(),
        };
        let (l, r) = (long(l, r), long(r, l));
        Ok(match l.dtype() {
            PlDataType::Float32 => {
                let quotients: Float32Chunked =
                    binary_elementwise_values(l.f32()?, r.f32()?, |l, r| l / r);
                quotients.into_column()
            }
            _ => {
                let quotients: Float64Chunked =
                    binary_elementwise_values(l.f64()?, r.f64()?, |l, r| l / r);
                quotients.into_column()
            }
        })
    };
    l.map_many(divided, &[r], |_, fields| Ok(fields[0].clone()))
}

fn dtype_known(of: &DataType) -> Lowered<()> {
    dtype(of).map(|_| ())
}

fn is_not_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n != 0)
}

/// The text of a literal.
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

/// A value of that very type: Polars suits an untyped one to what is beside it.
fn typed(value: impl Into<Scalar>) -> PlExpr {
    PlExpr::Literal(LiteralValue::Scalar(value.into()))
}

fn literal(value: &ScalarValue) -> Lowered<PlExpr> {
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

/// A pattern of LIKE that needs no regular expression.
enum Simple {
    Is(String),
    Begins(String),
    Ends(String),
    Has(String),
}

fn simple(pattern: &str) -> Option<Simple> {
    if pattern.contains(['_', '\\']) {
        return None;
    }
    let inner = pattern.trim_matches('%');
    if inner.contains('%') || inner.is_empty() {
        return None;
    }
    let text = inner.to_owned();
    Some(match (pattern.starts_with('%'), pattern.ends_with('%')) {
        (false, false) => Simple::Is(text),
        (false, true) => Simple::Begins(text),
        (true, false) => Simple::Ends(text),
        (true, true) => Simple::Has(text),
    })
}

fn regex_of(pattern: &str, case_insensitive: bool) -> String {
    let mut regex = String::from(if case_insensitive { "(?is)^" } else { "(?s)^" });
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            letter => {
                let literal = match letter {
                    '\\' => letters.next().unwrap_or('\\'),
                    other => other,
                };
                if literal.is_ascii_punctuation() {
                    regex.push('\\');
                }
                regex.push(literal);
            }
        }
    }
    regex.push('$');
    regex
}
