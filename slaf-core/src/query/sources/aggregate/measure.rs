//! The aggregate functions that the operator supports.

use std::sync::Arc;

use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::physical_expr::PhysicalExpr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    /// Variance or its root; of a sample or of all.
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

/// An aggregate function over the columns of a star.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) kind: Kind,
    /// None: rows are counted.
    pub(crate) argument: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the argument is the stored value as it stands.
    pub(crate) of_value: bool,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the argument is an integer.
    pub(crate) integer: bool,
}

/// An aggregate function that this operator knows.
pub(super) fn call(expr: &Expr) -> Option<(Kind, &AggregateFunctionParams)> {
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
