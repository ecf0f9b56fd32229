//! Converts expressions of the plan to Polars.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{Alias, Between, Case, Cast, InList, ScalarFunction, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use polars::prelude::{DataType as PlDataType, Expr as PlExpr, NULL, Series, col, lit, when};

use super::columns::column;
use super::division::quotient;
use super::functions::{Call, function};
use super::like::like;
use super::literals::literal;
use super::named_columns::Scope;
use super::types::{dtype, is_float, plain};
use super::unsupported::{Lowered, refuse};

/// Longer lists are tested with a hash set.
const FEW: usize = 8;

/// Whether the value is the same for all rows.
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
            Expr::Column(column) => self.column(column)?,
            Expr::Literal(value, _) => literal(value)?,
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Like(of) => like(self.expr(&of.expr)?, of)?,
            Expr::Not(inner) => self.expr(inner)?.not(),
            Expr::IsNull(inner) | Expr::IsUnknown(inner) => self.expr(inner)?.is_null(),
            Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => self.expr(inner)?.is_not_null(),
            Expr::IsTrue(inner) => self.expr(inner)?.fill_null(lit(false)),
            Expr::IsNotTrue(inner) => self.expr(inner)?.fill_null(lit(false)).not(),
            Expr::IsFalse(inner) => self.expr(inner)?.fill_null(lit(true)).not(),
            Expr::IsNotFalse(inner) => self.expr(inner)?.fill_null(lit(true)),
            Expr::Negative(inner) => self.negative(inner)?,
            Expr::Between(between) => self.between(between)?,
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

    fn column(&self, column: &Column) -> Lowered<PlExpr> {
        let place = self.schema.maybe_index_of_column(column);
        let place = place.ok_or_else(|| format!("a column {column} of elsewhere"))?;
        Ok(col(self.names[place].clone()))
    }

    fn negative(&self, inner: &Expr) -> Lowered<PlExpr> {
        let dtype = self.dtype(inner)?;
        if !(is_float(&dtype) || dtype == DataType::Int64) {
            return refuse("minus a small integer");
        }
        Ok(-self.expr(inner)?)
    }

    fn between(&self, between: &Between) -> Lowered<PlExpr> {
        let Between {
            expr,
            negated,
            low,
            high,
        } = between;
        self.alike(expr, low)?;
        self.alike(expr, high)?;
        let of = self.expr(expr)?;
        let within = of.clone().gt_eq(self.expr(low)?);
        let within = within.and(of.lt_eq(self.expr(high)?));
        Ok(if *negated { within.not() } else { within })
    }

    fn function(&self, call: &ScalarFunction) -> Lowered<PlExpr> {
        let gives = self.dtype(&Expr::ScalarFunction(call.clone()))?;
        let types = call.args.iter().map(|arg| self.dtype(arg));
        let found = function(&Call {
            name: call.func.name(),
            args: &call.args,
            of: &types.collect::<Lowered<Vec<_>>>()?,
            lowered: &self.exprs(&call.args)?,
        })?;
        Ok(found.cast(dtype(&gives)?))
    }

    /// The common type of both sides; refuses two types, which would need a conversion.
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
        let of = self.alike(left, right)?;
        dtype(&of)?;
        let (l, r) = both()?;
        let wide = is_float(&of) || of == DataType::Int64;
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
            Operator::Divide if is_float(&of) => quotient(l, r),
            // Polars rounds the quotient down, SQL rounds it towards zero.
            Operator::Divide if of == DataType::Int64 && is_not_zero(right) => {
                let down = l.clone().floor_div(r.clone());
                let (below, rest) = (l.clone().lt(lit(0)), (l % r.clone()).neq(lit(0)));
                let rounded = rest.and(below.neq(r.lt(lit(0))));
                down + rounded.cast(PlDataType::Int64)
            }
            Operator::Modulo if wide && !is_float(&of) && is_not_zero(right) => {
                // In Polars, the remainder has the sign of the divisor; in SQL, that of
                // the dividend.
                let rest = l.clone() % r.clone();
                let other_sign = l.lt(lit(0)).neq(r.clone().lt(lit(0)));
                when(rest.clone().neq(lit(0)).and(other_sign))
                    .then(rest.clone() - r)
                    .otherwise(rest)
            }
            Operator::StringConcat if of == DataType::Utf8 => l + r,
            other => return refuse(format!("the operator {other} of {of}")),
        })
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
                _ => return refuse("a list with NULL or with computed values"),
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
            let column = column("", &array)?;
            let column = column.cast(&dtype(&of_type)?).map_err(|e| e.to_string())?;
            let series: Series = column.take_materialized_series();
            of.is_in(lit(series).implode(true), false)
        };
        Ok(if *negated { within.not() } else { within })
    }
}

fn is_not_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Int64(Some(n)), _) if *n != 0)
}
