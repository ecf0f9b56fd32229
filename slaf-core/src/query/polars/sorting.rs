//! Converts ORDER BY to Polars.

use datafusion::logical_expr::SortExpr;
use polars::prelude::{LazyFrame, SortMultipleOptions};

use super::named_columns::Scope;
use super::unsupported::{Lowered, refuse};

pub(super) fn sorted(frame: LazyFrame, by: &[SortExpr], scope: &Scope<'_>) -> Lowered<LazyFrame> {
    let mut keys = vec![];
    let mut options = SortMultipleOptions::default();
    (options.descending, options.nulls_last) = (vec![], vec![]);
    for SortExpr {
        expr,
        asc,
        nulls_first,
    } in by
    {
        if scope.dtype(expr)?.is_nested() {
            return refuse("ORDER BY a list");
        }
        keys.push(scope.expr(expr)?);
        options.descending.push(!asc);
        options.nulls_last.push(!nulls_first);
    }
    Ok(frame.sort_by_exprs(keys, options))
}
