//! Converted parts of a plan: a frame and the names of its columns.

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use polars::prelude::{Expr as PlExpr, LazyFrame, PlSmallStr, col};

/// Generates column names that are not used yet.
#[derive(Default)]
pub(super) struct FreshNames(usize);

impl FreshNames {
    pub(super) fn next(&mut self) -> PlSmallStr {
        self.0 += 1;
        PlSmallStr::from_string(format!("#{}", self.0))
    }
}

/// A converted part of the plan. All columns of a statement have different names.
pub(super) struct Part {
    /// It has at least one column, so that its rows can be counted.
    pub(super) frame: LazyFrame,
    /// The name in `frame` of each column of the plan's schema.
    pub(super) names: Vec<PlSmallStr>,
}

/// The Polars names of the columns of a plan.
pub(super) struct Scope<'a> {
    pub(super) schema: &'a DFSchema,
    pub(super) names: &'a [PlSmallStr],
}

impl Part {
    /// The same columns, with other rows.
    pub(super) fn with(self, rows: impl FnOnce(LazyFrame) -> LazyFrame) -> Self {
        Self {
            frame: rows(self.frame),
            names: self.names,
        }
    }

    pub(super) fn scope<'a>(&'a self, of: &'a LogicalPlan) -> Scope<'a> {
        Scope {
            schema: of.schema(),
            names: &self.names,
        }
    }
}

pub(super) fn columns(names: &[PlSmallStr]) -> Vec<PlExpr> {
    names.iter().map(|name| col(name.clone())).collect()
}

pub(super) fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_column(&alias.expr),
        _ => false,
    }
}
