//! Aggregate functions: what Polars computes for each group, in a form that runs in
//! parallel, and the expression that makes the result of it.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use polars::prelude::{
    DataType as PlDataType, Expr as PlExpr, NULL, QuantileMethod, len, lit, when,
};

use super::expressions::is_constant;
use super::named_columns::Scope;
use super::types::{dtype, is_float};
use super::unsupported::{Lowered, refuse};

/// An aggregate in Polars.
pub(super) struct Measure {
    /// Expressions that are computed for each group.
    pub(super) parts: Vec<PlExpr>,
    whole: Whole,
    gives: PlDataType,
}

/// How the result is made from the parts.
enum Whole {
    /// The only part is the result.
    Part,
    /// The first part is the result, or NULL if the second part, the number of values, is
    /// 0.
    OfSome,
}

impl Measure {
    pub(super) fn of(&self, parts: Vec<PlExpr>) -> Lowered<PlExpr> {
        let mut parts = parts.into_iter();
        let (Some(found), n) = (parts.next(), parts.next()) else {
            return refuse("an aggregate of nothing");
        };
        let found = match (&self.whole, n) {
            (Whole::OfSome, Some(n)) => when(n.gt(lit(0))).then(found).otherwise(lit(NULL)),
            _ => found,
        };
        Ok(found.cast(self.gives.clone()))
    }
}

impl Scope<'_> {
    pub(super) fn aggregate(&self, expr: &Expr) -> Lowered<Measure> {
        let call = match expr {
            Expr::Alias(alias) => return self.aggregate(&alias.expr),
            Expr::AggregateFunction(call) => call,
            _ => return refuse("what is no aggregate"),
        };
        let AggregateFunction { func, params } = call;
        let AggregateFunctionParams {
            args,
            distinct,
            filter,
            order_by,
            null_treatment: None,
        } = params
        else {
            return refuse("an aggregate with IGNORE NULLS");
        };
        // Polars evaluates a constant to one value, whatever the number of rows.
        if filter.as_deref().is_some_and(is_constant) {
            return refuse("a filter that is constant");
        }
        let filter = filter.as_deref().map(|filter| self.expr(filter));
        let filter = filter.transpose()?;
        let by_itself =
            matches!(order_by.as_slice(), [by] if Some(&by.expr) == args.first() && by.asc);
        if !order_by.is_empty() && (func.name() != "percentile_cont" || !by_itself) {
            return refuse("an aggregate with ORDER BY");
        }
        let gives = dtype(&self.dtype(&Expr::AggregateFunction(call.clone()))?)?;
        let measure = |(whole, parts)| Measure {
            parts,
            whole,
            gives: gives.clone(),
        };
        if func.name() == "count" && !distinct && args.iter().all(is_a_value) {
            let counted = filter.map_or_else(len, PlExpr::sum);
            return Ok(measure((Whole::Part, vec![counted])));
        }
        let (Some(argument), true) = (args.first(), args.len() <= 2) else {
            return refuse("an aggregate of several arguments");
        };
        if is_constant(argument) {
            return refuse("an aggregate of a constant");
        }
        let mut values = self.expr(argument)?;
        if let Some(filter) = filter {
            values = when(filter).then(values).otherwise(lit(NULL));
        }
        if *distinct {
            values = values.drop_nulls().unique();
        }
        let of = self.dtype(argument)?;
        Ok(measure(of_arguments(
            func.name(),
            values,
            &of,
            args.get(1),
        )?))
    }
}

fn is_a_value(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.is_null())
}

/// An aggregate of `values` and perhaps a second argument.
fn of_arguments(
    name: &str,
    values: PlExpr,
    of: &DataType,
    second: Option<&Expr>,
) -> Lowered<(Whole, Vec<PlExpr>)> {
    match second {
        None => of_values(name, values, of),
        Some(Expr::Literal(ScalarValue::Float64(Some(part)), _))
            if name == "percentile_cont" && is_float(of) =>
        {
            let quantile = values.quantile(lit(*part), QuantileMethod::Linear);
            Ok((Whole::Part, vec![quantile]))
        }
        Some(_) => refuse("an aggregate of several arguments"),
    }
}

/// Like SQL, Polars ignores NULLs; but its sum of no values is 0, not NULL.
fn of_values(name: &str, values: PlExpr, of: &DataType) -> Lowered<(Whole, Vec<PlExpr>)> {
    let some = |found: PlExpr| (Whole::OfSome, vec![found, values.clone().count()]);
    let number = of.is_numeric();
    let wide = if is_float(of) {
        PlDataType::Float64
    } else {
        PlDataType::Int64
    };
    let ordered = of.is_integer() || *of == DataType::Utf8;
    let part = match name {
        "sum" if number && *of != DataType::UInt64 => {
            return Ok(some(values.clone().cast(wide).sum()));
        }
        "bool_and" => return Ok(some(values.clone().all(true))),
        "bool_or" => return Ok(some(values.clone().any(true))),
        "count" => values.count(),
        "avg" if number => values.cast(PlDataType::Float64).mean(),
        "min" if ordered => values.min(),
        "max" if ordered => values.max(),
        // NaN is the greatest.
        "min" if is_float(of) => values.min(),
        "max" if is_float(of) => values.nan_max(),
        "stddev" if is_float(of) => values.std(1),
        "stddev_pop" if is_float(of) => values.std(0),
        "var" if is_float(of) => values.var(1),
        "var_pop" if is_float(of) => values.var(0),
        "median" if is_float(of) => values.median(),
        other => return refuse(format!("the aggregate {other} of {of}")),
    };
    Ok((Whole::Part, vec![part]))
}
