//! The aggregate functions that the operator supports.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    /// Variance or standard deviation, of a sample or of a population.
    Spread {
        root: bool,
        sample: bool,
    },
}

impl Kind {
    pub(crate) fn of(name: &str) -> Option<Self> {
        let spread = |root, sample| Self::Spread { root, sample };
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "var" => spread(false, true),
            "var_pop" => spread(false, false),
            "stddev" => spread(true, true),
            "stddev_pop" => spread(true, false),
            _ => return None,
        })
    }
}

/// An aggregate function over columns of a star join.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) kind: Kind,
    /// `None` for COUNT(*).
    pub(crate) argument: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the argument is the stored value itself.
    pub(crate) of_value: bool,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the argument is an integer.
    pub(crate) integer: bool,
}

impl Measure {
    /// Whether it takes longer to compute for a row than to look for equal rows.
    pub(super) fn is_costly(&self) -> bool {
        let is_computed = |expr: &Arc<dyn PhysicalExpr>| !expr.is::<Column>();
        matches!(self.kind, Kind::Spread { .. })
            || self.argument.iter().chain(&self.filter).any(is_computed)
    }
}

/// A call of an aggregate function, whose columns have been resolved.
pub(super) struct Call {
    kind: Kind,
    pub(super) argument: Option<Expr>,
    pub(super) filter: Option<Expr>,
}

impl Call {
    /// `None` if the function or this form of it is not supported. `look_up` rewrites
    /// an expression to columns of the sources.
    pub(super) fn of(expr: &Expr, look_up: impl Fn(&Expr) -> Result<Expr>) -> Result<Option<Self>> {
        let Some((kind, params)) = known(expr) else {
            return Ok(None);
        };
        let argument = match params.args.first() {
            None => None,
            Some(Expr::Literal(value, _)) if value.is_null() => return Ok(None),
            Some(Expr::Literal(..)) => None,
            Some(expr) => Some(look_up(expr)?),
        };
        let filter = params.filter.as_deref().map(look_up).transpose()?;
        Ok(Some(Self {
            kind,
            argument,
            filter,
        }))
    }

    /// The function over rows of a schema; `None` if its argument is not a number.
    pub(super) fn measure(
        &self,
        names: &DFSchema,
        state: &SessionState,
    ) -> Result<Option<Measure>> {
        let dtype = self.argument.as_ref().map(|e| e.get_type(names));
        let dtype = dtype.transpose()?;
        if self.kind != Kind::Count && !dtype.as_ref().is_some_and(is_number) {
            return Ok(None);
        }
        let physical = |expr: &Expr| state.create_physical_expr(expr.clone(), names);
        Ok(Some(Measure {
            kind: self.kind,
            of_value: false,
            argument: self.argument.as_ref().map(physical).transpose()?,
            filter: self.filter.as_ref().map(physical).transpose()?,
            integer: dtype.is_none_or(|dtype| dtype.is_integer()),
        }))
    }
}

fn is_number(dtype: &DataType) -> bool {
    dtype.is_integer() || matches!(dtype, DataType::Float32 | DataType::Float64)
}

/// The kind of a supported function, and its parameters.
fn known(expr: &Expr) -> Option<(Kind, &AggregateFunctionParams)> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = unaliased(expr) else {
        return None;
    };
    let AggregateFunctionParams {
        args,
        distinct: false,
        filter: _,
        order_by,
        null_treatment: None,
    } = params
    else {
        return None;
    };
    let kind = Kind::of(func.name())?;
    (args.len() <= 1 && order_by.is_empty()).then_some((kind, params))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
