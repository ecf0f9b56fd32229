//! Rewrites joins with USING, and NATURAL joins, with ON.
//!
//! In such a join, `k` without a table's name is the key of whichever side has the
//! row. DataFusion takes the key of one side, and not always the same one; it is
//! NULL if only the other side has the row. So `k` becomes `a.k`, `b.k` or
//! `COALESCE(a.k, b.k)`, and `*` is expanded. `a.k` stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, Statement,
    TableAlias, TableFactor, TableWithJoins, VisitMut, Visitor, VisitorMut,
};

use crate::query::catalog::Catalog;
use crate::query::language::output_columns::{
    Given, Scope, default_name, joined, starred, unknown,
};
use crate::{Error, Result};

pub(crate) fn write_out(statement: &mut Statement, catalog: &Catalog) -> Result<()> {
    // The columns of all tables are looked up only for those who need them.
    if sqlparser::ast::Visit::visit(&*statement, &mut HasKeys).is_continue() {
        return Ok(());
    }
    let mut writer = Writer {
        scope: Scope {
            catalog,
            ctes: vec![],
        },
        entered: vec![],
        unnamed: 0,
    };
    match statement.visit(&mut writer) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct HasKeys;

impl Visitor for HasKeys {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        match select.from.iter().any(|tables| has_keys(tables, false)) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

struct Writer<'a> {
    scope: Scope<'a>,
    /// For each enclosing query, the number of common table expressions that were known
    /// before it.
    entered: Vec<usize>,
    /// The number of subqueries that were given a name.
    unnamed: usize,
}

impl VisitorMut for Writer<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.entered.push(self.scope.enter(query));
        let SetExpr::Select(select) = &mut *query.body else {
            return ControlFlow::Continue(());
        };
        match self.select(select) {
            Ok(Some(mut keys)) => {
                // In ORDER BY, a name means a column of the answer if there is one.
                keys.retain(|name, _| !select.projection.iter().any(|item| gives(item, name)));
                if let Some(order_by) = &mut query.order_by {
                    keyed(&mut self.scope, keys, |keyer| order_by.visit(keyer));
                }
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        if let Some(before) = self.entered.pop() {
            self.scope.leave(before);
        }
        ControlFlow::Continue(())
    }

    /// Each SELECT inside of a set operation.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        match self.select(select) {
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The columns of a SELECT: `*` is expanded, and computed columns are named.
fn projected(items: Vec<SelectItem>, all: &[Given]) -> Result<Vec<SelectItem>> {
    let paths: Vec<SelectItem> = items.iter().filter(|i| is_path(i)).cloned().collect();
    let mut projection = vec![];
    for item in items {
        match item {
            path if is_path(&path) => projection.push(path),
            SelectItem::Wildcard(options) => {
                let columns = starred(all.to_vec(), &options)?;
                projection.extend(columns.into_iter().map(named));
            }
            SelectItem::UnnamedExpr(expr) => {
                let mut name = match &expr {
                    Expr::Identifier(ident) => ident.value.clone(),
                    expr => default_name(expr),
                };
                // In `SELECT a.k, k`, the alias of `k` must differ from the name of
                // `a.k`.
                let taken = paths.iter().filter(|path| gives(path, &name)).count();
                if taken > 0 {
                    name = format!("{name}_{taken}");
                }
                projection.push(SelectItem::ExprWithAlias {
                    expr,
                    alias: Ident::with_quote('"', name),
                });
            }
            other => projection.push(other),
        }
    }
    Ok(projection)
}

/// A column of `*`, with its name.
fn named(Given { name, expr }: Given) -> SelectItem {
    match &expr {
        Expr::CompoundIdentifier(idents) if idents.last().is_some_and(|i| i.value == name) => {
            SelectItem::UnnamedExpr(expr)
        }
        _ => SelectItem::ExprWithAlias {
            expr,
            alias: Ident::with_quote('"', name),
        },
    }
}

impl Writer<'_> {
    /// Rewrites the joins of `select` with ON. Returns the keys, or `None` if it has no
    /// join with USING or NATURAL.
    fn select(&mut self, select: &mut Select) -> Result<Option<BTreeMap<String, Expr>>> {
        if !select.from.iter().any(|tables| has_keys(tables, false)) {
            return Ok(None);
        }
        let mut from = select.from.clone();
        let mut all: Vec<Given> = vec![];
        for tables in &mut from {
            self.name(tables);
            match joined(&mut self.scope, tables) {
                Some(given) => all.extend(given),
                None if select.from.iter().any(|tables| has_keys(tables, true)) => {
                    return Err(unknown());
                }
                // If columns are unknown, the engine resolves the names.
                None => return Ok(None),
            }
        }
        select.from = from;
        select.projection = projected(std::mem::take(&mut select.projection), &all)?;
        // If several columns have a name, the engine reports that it is ambiguous.
        let mut keys = BTreeMap::new();
        let mut twice = BTreeSet::new();
        for Given { name, expr } in all {
            if keys.insert(name.clone(), expr).is_some() {
                twice.insert(name);
            }
        }
        keys.retain(|name, _| !twice.contains(name));
        keyed(&mut self.scope, keys.clone(), |keyer| {
            select.distinct.visit(keyer)?;
            select.projection.visit(keyer)?;
            select.selection.visit(keyer)?;
            select.group_by.visit(keyer)?;
            select.having.visit(keyer)?;
            select.named_window.visit(keyer)?;
            select.qualify.visit(keyer)
        });
        Ok(Some(keys))
    }

    /// Names subqueries that have no name.
    fn name(&mut self, tables: &mut TableWithJoins) {
        let joins = tables.joins.iter_mut().map(|join| &mut join.relation);
        let factors: Vec<_> = std::iter::once(&mut tables.relation).chain(joins).collect();
        for factor in factors {
            match factor {
                TableFactor::Derived {
                    alias: alias @ None,
                    ..
                } => {
                    self.unnamed += 1;
                    *alias = Some(TableAlias {
                        explicit: true,
                        name: Ident::new(format!("_side{}", self.unnamed)),
                        columns: vec![],
                        at: None,
                    });
                }
                TableFactor::NestedJoin {
                    table_with_joins, ..
                } => self.name(table_with_joins),
                _ => {}
            }
        }
    }
}

/// Whether there are joins with USING or NATURAL; with `outer`, only those whose key is
/// not always the left side's.
fn has_keys(tables: &TableWithJoins, outer: bool) -> bool {
    let nested = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => has_keys(table_with_joins, outer),
        _ => false,
    };
    let keyed = |operator: &JoinOperator| {
        let (on, right) = match operator {
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (on, true),
            JoinOperator::FullOuter(on) => (on, true),
            JoinOperator::Join(on)
            | JoinOperator::Inner(on)
            | JoinOperator::Left(on)
            | JoinOperator::LeftOuter(on) => (on, false),
            _ => return false,
        };
        matches!(on, JoinConstraint::Using(_) | JoinConstraint::Natural) && (right || !outer)
    };
    nested(&tables.relation)
        || (tables.joins.iter()).any(|join| keyed(&join.join_operator) || nested(&join.relation))
}

fn is_path(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::UnnamedExpr(
            Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. } | Expr::Wildcard(_)
        )
    )
}

fn gives(item: &SelectItem, name: &str) -> bool {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => alias.value == name,
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => {
            idents.last().is_some_and(|ident| ident.value == name)
        }
        _ => false,
    }
}

/// Replaces unqualified names by the keys of the joins.
fn keyed(
    scope: &mut Scope<'_>,
    keys: BTreeMap<String, Expr>,
    visit: impl FnOnce(&mut Keyer<'_, '_>) -> ControlFlow<()>,
) {
    let mut keyer = Keyer {
        scope,
        keys,
        hidden: vec![],
    };
    let _ = visit(&mut keyer);
}

struct Keyer<'a, 'b> {
    scope: &'a mut Scope<'b>,
    keys: BTreeMap<String, Expr>,
    /// The keys outside of each enclosing subquery, which may have a column of the same
    /// name.
    hidden: Vec<BTreeMap<String, Expr>>,
}

impl VisitorMut for Keyer<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.hidden.push(self.keys.clone());
        let before = self.scope.enter(query);
        let own = match &*query.body {
            SetExpr::Select(select) => self.scope.of_from(&select.from),
            _ => None,
        };
        self.scope.leave(before);
        match own {
            Some(own) => {
                for column in own {
                    self.keys.remove(&column.name);
                }
            }
            None => self.keys.clear(),
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.keys = self.hidden.pop().unwrap_or_default();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some(key) = self.keys.get(&ident.value)
        {
            *expr = key.clone();
        }
        ControlFlow::Continue(())
    }
}
