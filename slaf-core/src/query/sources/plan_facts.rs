//! Facts about logical plans: the tables and columns that they read, and how many rows.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, TableScan};

use super::expression::Expression;

/// Maximum number of rows of tables that are read before the rest of the plan.
const SMALL: usize = 20_000_000;

/// The table `expression`, if a scan is of it.
pub(crate) fn expression_of(scan: &TableScan) -> Option<Expression> {
    let provider = source_as_provider(&scan.source).ok()?;
    provider.downcast_ref::<Expression>().cloned()
}

pub(crate) fn mentions_expression(plan: &LogicalPlan) -> bool {
    plan.exists(|node| {
        Ok(matches!(node, LogicalPlan::TableScan(scan) if expression_of(scan).is_some()))
    })
    .unwrap_or(true)
}

/// The column of an expression that is a column, perhaps cast to a wider integer.
pub(crate) fn plain_column(expr: &Expr) -> Option<Column> {
    match expr {
        Expr::Column(column) => Some(column.clone()),
        Expr::Cast(Cast { expr, field }) if field.data_type().is_integer() => plain_column(expr),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

/// Whether `plan` does not read `expression`, has few rows, and always gives the same
/// result.
pub(crate) fn is_small(plan: &LogicalPlan) -> bool {
    let mut rows = 0;
    let fits = plan.apply(|node| {
        if node.expressions().iter().any(Expr::is_volatile) {
            rows = usize::MAX;
        }
        match node {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                let counted = provider
                    .statistics()
                    .and_then(|s| s.num_rows.get_value().copied());
                let here = if expression_of(scan).is_some() {
                    None
                } else {
                    counted
                };
                rows = rows.saturating_add(here.unwrap_or(usize::MAX));
            }
            LogicalPlan::RecursiveQuery(_) | LogicalPlan::Extension(_) => rows = usize::MAX,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    fits.is_ok() && rows <= SMALL
}

/// Replaces the columns of `schema` in `expr` by the expressions in `columns`.
pub(crate) fn in_terms_of(columns: &[Expr], expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    let translated = expr.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => {
                Transformed::yes(columns[schema.index_of_column(&column)?].clone())
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(translated.data.unalias_nested().data)
}

pub(crate) fn has_subquery(expr: &Expr) -> bool {
    let found = expr.exists(|expr| {
        let set = matches!(expr, Expr::SetComparison(_) | Expr::InSubquery(_));
        Ok(set || matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_)))
    });
    found.unwrap_or(true)
}
