//! The names of computed columns.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, Select, SelectItem, VisitorMut};

use super::output_columns::default_name;

/// Gives every column of every SELECT a name.
pub(super) struct NameColumns;

impl VisitorMut for NameColumns {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_columns(&mut select.projection);
        ControlFlow::Continue(())
    }
}

/// Names each computed column by its text as it was written, before it is rewritten. If
/// a name occurs again, it gets a number.
fn name_columns(projection: &mut [SelectItem]) {
    let mut taken: BTreeSet<String> = projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => None,
        })
        .collect();
    let mut given = BTreeSet::new();
    let mut plain = BTreeSet::new();
    for item in projection {
        let (expr, name) = match item {
            SelectItem::ExprWithAlias { alias, .. } if given.insert(alias.value.clone()) => {
                continue;
            }
            SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone()),
            SelectItem::UnnamedExpr(expr) => match &*expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_)
                    if plain.insert(expr.to_string()) =>
                {
                    continue;
                }
                Expr::Identifier(ident) => {
                    let name = ident.value.clone();
                    (expr, name)
                }
                Expr::CompoundIdentifier(idents) => {
                    let name = idents.last().map_or_else(String::new, |i| i.value.clone());
                    (expr, name)
                }
                Expr::CompoundFieldAccess { .. } | Expr::Wildcard(_) => continue,
                other => {
                    let name = default_name(other);
                    (expr, name)
                }
            },
            _ => continue,
        };
        let numbered = (1..).map(|n| format!("{name}_{n}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let free = names.find(|name| !taken.contains(name) && !plain.contains(name));
        let alias = free.unwrap_or(name);
        taken.insert(alias.clone());
        *item = SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias: Ident::with_quote('"', alias),
        };
    }
}
