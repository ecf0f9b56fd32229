//! Resolves names on the syntax tree, before an engine sees it.
//!
//! * A table is looked up in the catalog. If it is unknown, the error suggests
//!   similar names.
//! * An unquoted column that differs from a known one only in case is that column.
//! * If `"T cells"` names no column, it is the string 'T cells', with a warning.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectFlavor, SelectItem,
    Statement, Subscript, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};

use crate::query::catalog::{Catalog, Named};
use crate::query::language::parse::parse;
use crate::query::language::relations::{cte_names, parts};
use crate::query::language::table_functions::expand;
use crate::{Error, Result};

/// Maximum depth of views of views.
const DEPTH: usize = 200;

/// Binds all names of `statement`. Returns warnings for its author.
pub(crate) fn bind_names(statement: &mut Statement, catalog: &Catalog) -> Result<Vec<String>> {
    let mut tables = Tables {
        catalog,
        ctes: cte_names(statement),
        known: BTreeSet::new(),
        depth: 0,
    };
    tables.known.extend(tables.ctes.iter().cloned());
    if let ControlFlow::Break(error) = statement.visit(&mut tables) {
        return Err(error);
    }
    let mut columns = Columns {
        known: tables.known,
        strings: BTreeSet::new(),
    };
    let _ = statement.visit(&mut columns);
    let strings: Vec<String> = columns.strings.into_iter().collect();
    Ok(match strings.as_slice() {
        [] => vec![],
        strings => vec![format!(
            "Not the name of a column, and so taken as text: {}.",
            strings.join(", ")
        )],
    })
}

/// First pass: resolves tables, and collects all names that a column may have.
struct Tables<'a> {
    catalog: &'a Catalog,
    ctes: BTreeSet<String>,
    known: BTreeSet<String>,
    /// The number of views around the current query.
    depth: usize,
}

impl Tables<'_> {
    fn alias(&mut self, alias: &TableAlias) {
        self.known.insert(alias.name.value.clone());
        self.known
            .extend(alias.columns.iter().map(|c| c.name.value.clone()));
    }

    /// Replaces the name of a view by its query.
    fn view(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
        else {
            return Ok(());
        };
        let path = parts(name);
        let Some(last) = path.last().copied() else {
            return Ok(());
        };
        let bare = path.len() == 1;
        if bare && self.ctes.contains(last) {
            return Ok(());
        }
        let named = self.catalog.view(last).filter(|_| bare).map(str::to_owned);
        let Some(query) = named.or_else(|| self.catalog.vectors(&path)) else {
            return Ok(());
        };
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Error::Sql {
                message: format!("The view `{last}` is made of itself."),
                hint: Some("Create it again, from tables.".into()),
            });
        }
        let Some(Statement::Query(subquery)) = parse(&query)?.query else {
            return Ok(());
        };
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', last),
            columns: vec![],
            at: None,
        });
        self.ctes
            .extend(cte_names(&Statement::Query(subquery.clone())));
        *factor = TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias),
            sample: None,
        };
        Ok(())
    }

    fn table(&mut self, name: &mut ObjectName) -> Result<()> {
        let path = parts(name);
        if let [bare] = path.as_slice()
            && self.ctes.contains(*bare)
        {
            // In the definition of a common table expression, its name can mean the table
            // that it hides. So the columns of that table are known, too.
            if let Ok((_, found)) = self.catalog.resolve(&path) {
                self.known.extend(columns_of(&found));
            }
            return Ok(());
        }
        let (resolved, found) = self.catalog.resolve(&path)?;
        self.known.extend(columns_of(&found));
        self.known.extend(resolved.iter().cloned());
        *name = object_name(resolved);
        Ok(())
    }
}

impl VisitorMut for Tables<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.alias(&cte.alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if select.projection.is_empty() && select.flavor == SelectFlavor::Standard {
            return ControlFlow::Break(Error::Sql {
                message: "A SELECT names no columns.".into(),
                hint: Some("Write `SELECT *` for all.".into()),
            });
        }
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.known.insert(alias.value.clone());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let Err(error) = expand(factor, self.catalog).and_then(|()| self.view(factor)) {
            return ControlFlow::Break(error);
        }
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                if let Some(alias) = alias {
                    self.alias(alias);
                }
                if let Err(error) = self.table(name) {
                    return ControlFlow::Break(error);
                }
            }
            TableFactor::Derived {
                alias: Some(alias), ..
            }
            | TableFactor::Table {
                alias: Some(alias), ..
            }
            | TableFactor::UNNEST {
                alias: Some(alias), ..
            }
            | TableFactor::Function {
                alias: Some(alias), ..
            } => self.alias(alias),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn columns_of(found: &Named<'_>) -> Vec<String> {
    found
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect()
}

/// Second pass: resolves columns.
struct Columns {
    known: BTreeSet<String>,
    /// Names in double quotes that were taken as strings.
    strings: BTreeSet<String>,
}

impl Columns {
    /// Replaces an unquoted identifier by the known name that it matches.
    fn fix_case(&self, ident: &mut Ident) {
        if ident.quote_style.is_some() || self.known.contains(&ident.value) {
            return;
        }
        let mut close = self
            .known
            .iter()
            .filter(|k| k.eq_ignore_ascii_case(&ident.value));
        if let (Some(only), None) = (close.next(), close.next()) {
            ident.value.clone_from(only);
        }
    }
}

impl VisitorMut for Columns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident)
                if ident.quote_style == Some('"') && !self.known.contains(&ident.value) =>
            {
                let text = Value::SingleQuotedString(ident.value.clone());
                self.strings.insert(text.to_string());
                *expr = Expr::Value(text.into());
            }
            Expr::Identifier(ident) => self.fix_case(ident),
            // The fields of a computed struct, as in `f(x).name`. Their names are not
            // columns.
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    match access {
                        AccessExpr::Dot(Expr::Identifier(field)) => {
                            let name = Value::SingleQuotedString(field.value.clone());
                            *access = AccessExpr::Dot(Expr::Value(name.into()));
                        }
                        AccessExpr::Subscript(Subscript::Slice {
                            lower_bound,
                            upper_bound,
                            ..
                        }) => {
                            let place =
                                |place: &str| Expr::value(Value::Number(place.into(), false));
                            lower_bound.get_or_insert_with(|| place("1"));
                            upper_bound.get_or_insert_with(|| place("-1"));
                        }
                        _ => {}
                    }
                }
            }
            Expr::CompoundIdentifier(idents) => {
                for ident in idents {
                    self.fix_case(ident);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn object_name(parts: Vec<String>) -> ObjectName {
    let quoted = |part| ObjectNamePart::Identifier(Ident::with_quote('"', part));
    ObjectName(parts.into_iter().map(quoted).collect())
}
