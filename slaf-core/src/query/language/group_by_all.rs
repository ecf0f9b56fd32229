//! Expands GROUP BY ALL and ORDER BY ALL.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, GroupByExpr, OrderBy, OrderByExpr, OrderByKind, Select, SelectItem, Value,
    visit_expressions,
};

use super::relations::parts;
use crate::query::dialect::session::is_aggregate;

/// `GROUP BY ALL`: groups by every column without an aggregate.
pub(super) fn group_by_all(select: &mut Select) {
    let all = match &select.group_by {
        GroupByExpr::All(modifiers) => modifiers.is_empty(),
        GroupByExpr::Expressions(by, modifiers) => {
            let [Expr::Identifier(ident)] = by.as_slice() else {
                return;
            };
            let keyword = ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("all");
            keyword && modifiers.is_empty()
        }
    };
    if !all {
        return;
    }
    let keys = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            (!has_aggregate(expr)).then(|| expr.clone())
        }
        _ => None,
    });
    select.group_by = GroupByExpr::Expressions(keys.collect(), vec![]);
}

fn has_aggregate(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Function(function)
            if function.over.is_none()
                && is_aggregate(&parts(&function.name).join(".").to_lowercase()) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// `ORDER BY ALL`: sorts by every column, from left to right.
pub(super) fn order_by_all(order_by: &mut OrderBy, columns: usize) {
    let options = match &order_by.kind {
        OrderByKind::All(options) => *options,
        OrderByKind::Expressions(by) => match by.as_slice() {
            [
                OrderByExpr {
                    expr: Expr::Identifier(ident),
                    options,
                    ..
                },
            ] if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("all") => *options,
            _ => return,
        },
    };
    let places = (1..=columns).map(|place| OrderByExpr {
        expr: Expr::Value(Value::Number(place.to_string(), false).into()),
        options,
        with_fill: None,
    });
    order_by.kind = OrderByKind::Expressions(places.collect());
}
