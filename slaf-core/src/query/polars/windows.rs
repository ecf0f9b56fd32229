//! Window functions: over whole partitions, or over sorted rows. For the latter,
//! the rows are sorted first; SQL guarantees no order of the result.

use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, Cast, WindowFunction, WindowFunctionParams,
};
use datafusion::logical_expr::{
    AggregateUDF, Expr, SortExpr, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use polars::prelude::{
    DataType as PlDataType, Expr as PlExpr, LazyFrame, NULL, int_range, len, lit, when,
};

use super::division::quotient;
use super::expressions::is_constant;
use super::named_columns::{FreshNames, Part, Scope};
use super::sorting::sorted;
use super::types::{dtype, is_float};
use super::unsupported::{Lowered, refuse};

/// The columns of the input, and one column for each window function.
pub(super) fn windows(
    fresh: &mut FreshNames,
    part: Part,
    schema: &DFSchema,
    exprs: &[Expr],
) -> Lowered<Part> {
    let Part { mut frame, names } = part;
    let mut all = names.clone();
    let mut in_order: Option<(&[Expr], &[SortExpr])> = None;
    for expr in exprs {
        let scope = Scope {
            schema,
            names: &names,
        };
        let call = call_of(expr)?;
        let params = &call.params;
        let order = (&*params.partition_by, &*params.order_by);
        if !params.order_by.is_empty() && in_order != Some(order) {
            frame = scope.in_order(frame, order)?;
            in_order = Some(order);
        }
        let name = fresh.next();
        let gives = dtype(&scope.dtype(expr)?)?;
        let column = scope.window(call)?.cast(gives).alias(name.clone());
        frame = frame.with_columns([column]);
        all.push(name);
    }
    Ok(Part { frame, names: all })
}

fn call_of(expr: &Expr) -> Lowered<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => call_of(&alias.expr),
        Expr::WindowFunction(call) => Ok(call),
        _ => refuse("what is no window function"),
    }
}

impl Scope<'_> {
    /// Evaluates functions in sorted partitions.
    fn in_order(
        &self,
        frame: LazyFrame,
        (partition, order): (&[Expr], &[SortExpr]),
    ) -> Lowered<LazyFrame> {
        let partition = partition.iter().map(|expr| expr.clone().sort(true, false));
        let by: Vec<SortExpr> = partition.chain(order.iter().cloned()).collect();
        sorted(frame, &by, self)
    }

    fn window(&self, call: &WindowFunction) -> Lowered<PlExpr> {
        let WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame,
            filter,
            null_treatment: None,
            distinct,
        } = &call.params
        else {
            return refuse("a window with IGNORE NULLS");
        };
        if partition_by.iter().any(is_constant) {
            return refuse("PARTITION BY a constant");
        }
        let partition = Partition {
            by: self.exprs(partition_by)?,
        };
        match &call.fun {
            WindowFunctionDefinition::AggregateUDF(func) => {
                let params = AggregateFunctionParams {
                    args: args.clone(),
                    distinct: *distinct,
                    filter: filter.clone(),
                    order_by: vec![],
                    null_treatment: None,
                };
                let func = Arc::clone(func);
                match extent(window_frame, order_by) {
                    Some(Extent::All) => {
                        let call = AggregateFunction { func, params };
                        let measure = self.aggregate(&Expr::AggregateFunction(call))?;
                        let parts = measure.parts.iter().cloned();
                        let parts = parts.map(|part| partition.over(part));
                        measure.of(parts.collect::<Lowered<Vec<_>>>()?)
                    }
                    Some(extent) if !order_by.is_empty() => {
                        let keys = self.keys(order_by)?;
                        partition.over(self.running(&func, &params, extent, &keys)?)
                    }
                    _ => refuse("an aggregate of a part of the window"),
                }
            }
            WindowFunctionDefinition::WindowUDF(func) => {
                if order_by.is_empty() || filter.is_some() || *distinct {
                    return refuse(format!("{} without an order", func.name()));
                }
                let extent = extent(window_frame, order_by);
                let keys = self.keys(order_by)?;
                partition.over(self.numbered(func.name(), args, &keys, extent)?)
            }
        }
    }

    fn keys(&self, order_by: &[SortExpr]) -> Lowered<Vec<PlExpr>> {
        order_by.iter().map(|by| self.expr(&by.expr)).collect()
    }

    /// Aggregates of rows before and after each row, as differences of running sums.
    fn running(
        &self,
        func: &Arc<AggregateUDF>,
        params: &AggregateFunctionParams,
        extent: Extent,
        keys: &[PlExpr],
    ) -> Lowered<PlExpr> {
        let ([argument], None, false) = (&*params.args, &params.filter, params.distinct) else {
            return refuse("a running aggregate with a filter, or of several arguments");
        };
        // The plan casts the argument of AVG to a double. An average of integers is
        // computed from the integers, which is exact.
        let inner = match argument {
            Expr::Cast(Cast { expr, .. }) if func.name() == "avg" => expr,
            _ => argument,
        };
        let argument = match self.dtype(inner)?.is_integer() {
            true => inner,
            false => argument,
        };
        let of = self.dtype(argument)?;
        let constant = is_constant(argument);
        if constant && !matches!(argument, Expr::Literal(value, _) if !value.is_null()) {
            return refuse("a running aggregate of a computed constant");
        }
        let (values, n) = match constant {
            true => (lit(NULL), row_number()),
            false => {
                let values = self.expr(argument)?;
                let n = values.clone().is_not_null().cast(PlDataType::Int64);
                (values, n.cum_sum(false))
            }
        };
        let n = of_extent(n, extent, keys);
        if func.name() == "count" {
            return Ok(n);
        }
        // The difference of two running sums of floats has rounding errors.
        let exact = of.is_integer() || !matches!(extent, Extent::Rows(..));
        if constant || !of.is_numeric() || !exact {
            return refuse(format!("the running aggregate {} of {of}", func.name()));
        }
        let wide = match is_float(&of) {
            true => PlDataType::Float64,
            false => PlDataType::Int64,
        };
        let sum = values.cast(wide).fill_null(lit(0)).cum_sum(false);
        let sum = of_extent(sum, extent, keys);
        Ok(match func.name() {
            "sum" => when(n.gt(lit(0))).then(sum).otherwise(lit(NULL)),
            "avg" => {
                let rows = n.clone().cast(PlDataType::Float64);
                let mean = quotient(sum.cast(PlDataType::Float64), rows);
                when(n.gt(lit(0))).then(mean).otherwise(lit(NULL))
            }
            other => return refuse(format!("the running aggregate {other}")),
        })
    }

    fn numbered(
        &self,
        name: &str,
        args: &[Expr],
        keys: &[PlExpr],
        extent: Option<Extent>,
    ) -> Lowered<PlExpr> {
        let one = PlDataType::Float64;
        Ok(match (name, args) {
            ("row_number", []) => row_number(),
            ("rank", []) => rank(keys),
            ("dense_rank", []) => is_new(keys).cast(PlDataType::Int64).cum_sum(false),
            ("percent_rank", []) => {
                let others = (length() - lit(1)).cast(one.clone());
                when(length().gt(lit(1)))
                    .then(quotient((rank(keys) - lit(1)).cast(one), others))
                    .otherwise(lit(0.0))
            }
            ("cume_dist", []) => quotient(last_peer(keys).cast(one.clone()), length().cast(one)),
            ("ntile", [Expr::Literal(parts, _)]) => match whole(parts) {
                Some(parts) if parts > 0 => ntile(parts),
                _ => return refuse("NTILE of no number"),
            },
            ("lag", [of, more @ ..]) => self.shifted(of, more, 1)?,
            ("lead", [of, more @ ..]) => self.shifted(of, more, -1)?,
            ("first_value", [of]) if extent.is_some_and(|extent| extent.is_from_first()) => {
                self.value(of)?.first()
            }
            ("last_value", [of]) if extent == Some(Extent::All) => self.value(of)?.last(),
            ("last_value", [of]) if extent == Some(Extent::ToPeers) => {
                self.value(of)?.gather(last_peer(keys) - lit(1), false)
            }
            (other, _) => return refuse(format!("the window function {other}")),
        })
    }

    fn value(&self, of: &Expr) -> Lowered<PlExpr> {
        match is_constant(of) {
            true => refuse("a window function of a constant"),
            false => self.expr(of),
        }
    }

    /// The value of a row before or after this one.
    fn shifted(&self, of: &Expr, more: &[Expr], sign: i64) -> Lowered<PlExpr> {
        let rows = match more.first() {
            None => Some(1),
            Some(Expr::Literal(rows, _)) => whole(rows),
            Some(_) => None,
        };
        let Some(rows) = rows else {
            return refuse("LAG or LEAD by no number");
        };
        let other = match more.get(1) {
            None => lit(NULL),
            Some(other @ Expr::Literal(..)) => self.expr(other)?,
            Some(_) => return refuse("LAG or LEAD with a computed default"),
        };
        let other = other.cast(dtype(&self.dtype(of)?)?);
        Ok(self.value(of)?.shift_and_fill(lit(sign * rows), other))
    }
}

/// The rows of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Extent {
    All,
    ToHere,
    /// To the last row with the same sort keys.
    ToPeers,
    /// From one offset to another, relative to each row.
    Rows(i64, i64),
}

impl Extent {
    fn is_from_first(self) -> bool {
        !matches!(self, Self::Rows(..))
    }
}

fn extent(frame: &WindowFrame, order_by: &[SortExpr]) -> Option<Extent> {
    let first = matches!(&frame.start_bound, WindowFrameBound::Preceding(n) if n.is_null());
    let to_end = matches!(&frame.end_bound, WindowFrameBound::Following(n) if n.is_null());
    let to_here = matches!(&frame.end_bound, WindowFrameBound::CurrentRow);
    if frame.units == WindowFrameUnits::Rows
        && let (Some(from), Some(to)) = (rows(&frame.start_bound), rows(&frame.end_bound))
    {
        return Some(Extent::Rows(from, to));
    }
    match frame.units {
        _ if first && to_end => Some(Extent::All),
        WindowFrameUnits::Rows if first && to_here => Some(Extent::ToHere),
        // Without an order all rows are equal.
        WindowFrameUnits::Range if first && to_here && order_by.is_empty() => Some(Extent::All),
        WindowFrameUnits::Range if first && to_here => Some(Extent::ToPeers),
        WindowFrameUnits::Rows | WindowFrameUnits::Range | WindowFrameUnits::Groups => None,
    }
}

fn rows(bound: &WindowFrameBound) -> Option<i64> {
    match bound {
        WindowFrameBound::Preceding(n) => Some(-whole(n)?),
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Following(n) => whole(n),
    }
}

struct Partition {
    by: Vec<PlExpr>,
}

impl Partition {
    fn over(&self, expr: PlExpr) -> Lowered<PlExpr> {
        match self.by.is_empty() {
            true => Ok(expr),
            false => expr.over(self.by.clone()).map_err(|e| e.to_string()),
        }
    }
}

fn whole(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int64(n) => *n,
        ScalarValue::UInt64(Some(n)) => i64::try_from(*n).ok(),
        _ => None,
    }
}

// The functions below compute columns of one partition, in its order. ----------------

fn length() -> PlExpr {
    len().cast(PlDataType::Int64)
}

/// Row numbers from 1 on.
fn row_number() -> PlExpr {
    int_range(lit(1), len() + lit(1), 1, PlDataType::Int64)
}

/// Whether the sort keys of a row differ from those of the row before.
fn is_new(keys: &[PlExpr]) -> PlExpr {
    let differs = keys
        .iter()
        .map(|key| key.clone().neq_missing(key.clone().shift(lit(1))));
    differs.fold(row_number().eq(lit(1)), PlExpr::or)
}

/// The number of the first row with the same sort keys.
fn rank(keys: &[PlExpr]) -> PlExpr {
    let number = when(is_new(keys)).then(row_number()).otherwise(lit(0));
    number.cum_max(false)
}

/// The number of the last row with the same sort keys.
fn last_peer(keys: &[PlExpr]) -> PlExpr {
    let is_last = is_new(keys).shift_and_fill(lit(-1), lit(true));
    let number = when(is_last).then(row_number()).otherwise(length());
    number.cum_min(true)
}

/// The sum over an extent, from the running sum `to_each`.
fn of_extent(to_each: PlExpr, extent: Extent, keys: &[PlExpr]) -> PlExpr {
    match extent {
        Extent::ToHere => to_each,
        Extent::All => to_each.last(),
        Extent::ToPeers => to_each.gather(last_peer(keys) - lit(1), false),
        Extent::Rows(from, to) => to_row(to_each.clone(), to) - to_row(to_each, from - 1),
    }
}

/// The running sum at the row that is `after` rows after each row.
fn to_row(to_each: PlExpr, after: i64) -> PlExpr {
    let row = row_number() + lit(after);
    let past = row.clone().gt(length());
    let inside = when(past).then(length()).otherwise(row.clone());
    let place = when(row.clone().lt(lit(1))).then(lit(1)).otherwise(inside) - lit(1);
    let sum = to_each.gather(place, false);
    when(row.lt(lit(1))).then(lit(0)).otherwise(sum)
}

/// NTILE: if the rows cannot be divided evenly, the first parts have one row more.
fn ntile(parts: i64) -> PlExpr {
    let (size, longer) = (length().floor_div(lit(parts)), length() % lit(parts));
    let at = row_number() - lit(1);
    let of_longer = longer.clone() * (size.clone() + lit(1));
    let size_or_one = when(size.clone().gt(lit(0)))
        .then(size.clone())
        .otherwise(lit(1));
    when(at.clone().lt(of_longer.clone()))
        .then(at.clone().floor_div(size + lit(1)))
        .otherwise(longer + (at - of_longer).floor_div(size_or_one))
        + lit(1)
}
