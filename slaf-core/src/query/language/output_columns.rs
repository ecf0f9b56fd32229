//! The column names of a query or of an item in a FROM clause, from the syntax tree
//! and the catalog.

use sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName,
    Query, RenameSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use crate::query::catalog::Catalog;
use crate::query::language::relations::parts;
use crate::{Error, Result};

/// A column of a FROM clause: its name in `*`, and its expression.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) expr: Expr,
}

/// The names that are known at a place in a statement.
pub(crate) struct Scope<'a> {
    pub(crate) catalog: &'a Catalog,
    /// Common table expressions and their columns, the innermost last.
    pub(crate) ctes: Vec<(String, Option<Vec<String>>)>,
}

impl Scope<'_> {
    /// Adds the WITH clause of `query`. Returns the number of expressions that were
    /// known before.
    pub(crate) fn enter(&mut self, query: &Query) -> usize {
        let before = self.ctes.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = renamed(self.of_query(&cte.query), &cte.alias);
            self.ctes.push((cte.alias.name.value.clone(), columns));
        }
        before
    }

    pub(crate) fn leave(&mut self, before: usize) {
        self.ctes.truncate(before);
    }

    /// The columns of `query`; `None` if they are unknown.
    pub(crate) fn of_query(&mut self, query: &Query) -> Option<Vec<String>> {
        let before = self.enter(query);
        let columns = self.of_body(&query.body);
        self.leave(before);
        columns
    }

    fn of_body(&mut self, body: &SetExpr) -> Option<Vec<String>> {
        match body {
            SetExpr::Select(select) => self.of_select(select),
            SetExpr::Query(query) => self.of_query(query),
            SetExpr::SetOperation { left, .. } => self.of_body(left),
            SetExpr::Values(values) => {
                let columns = 1..=values.rows.first()?.len();
                Some(columns.map(|n| format!("column{n}")).collect())
            }
            _ => None,
        }
    }

    fn of_select(&mut self, select: &Select) -> Option<Vec<String>> {
        let mut names = vec![];
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => names.push(alias.value.clone()),
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => names.push(ident.value.clone()),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => {
                    names.push(idents.last()?.value.clone());
                }
                SelectItem::UnnamedExpr(expr) => names.push(default_name(expr)),
                SelectItem::Wildcard(options) => {
                    let all = self.of_from(&select.from)?;
                    names.extend(starred(all, options).ok()?.into_iter().map(|c| c.name));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    let called = parts(name);
                    let found = self.factor_called(&select.from, called.last()?)?;
                    names.extend(starred(found, options).ok()?.into_iter().map(|c| c.name));
                }
                SelectItem::QualifiedWildcard(..) | SelectItem::ExprWithAliases { .. } => {
                    return None;
                }
            }
        }
        Some(names)
    }

    /// The columns of `*`; `None` if they are unknown.
    pub(crate) fn of_from(&mut self, from: &[TableWithJoins]) -> Option<Vec<Given>> {
        let mut all = vec![];
        for tables in from {
            let mut tables = tables.clone();
            all.extend(joined(self, &mut tables)?);
        }
        Some(all)
    }

    fn factor_called(&mut self, from: &[TableWithJoins], name: &str) -> Option<Vec<Given>> {
        for tables in from {
            let joins = tables.joins.iter().map(|join| &join.relation);
            for factor in std::iter::once(&tables.relation).chain(joins) {
                if prefix(factor).and_then(|p| p.last().map(|i| i.value == name)) == Some(true) {
                    return self.of_factor(factor);
                }
            }
        }
        None
    }

    /// The columns of a table or subquery; `None` if they are unknown.
    pub(crate) fn of_factor(&mut self, factor: &TableFactor) -> Option<Vec<Given>> {
        let prefix = prefix(factor)?;
        let (columns, alias) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => {
                let path = parts(name);
                let cte = match path.as_slice() {
                    [bare] => self.ctes.iter().rev().find(|(name, _)| name == bare),
                    _ => None,
                };
                let columns = match cte {
                    Some((_, columns)) => columns.clone()?,
                    None => {
                        let (_, found) = self.catalog.resolve(&path).ok()?;
                        let fields = found.schema().fields().iter();
                        fields.map(|field| field.name().clone()).collect()
                    }
                };
                (columns, alias)
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => (self.of_query(subquery)?, alias),
            _ => return None,
        };
        let columns = match alias {
            Some(alias) => renamed(Some(columns), alias)?,
            None => columns,
        };
        let given = columns.into_iter().map(|name| {
            let mut idents = prefix.clone();
            idents.push(Ident::with_quote('"', &name));
            Given {
                name,
                expr: Expr::CompoundIdentifier(idents),
            }
        });
        Some(given.collect())
    }
}

/// The qualifier for columns of a table or subquery.
fn prefix(factor: &TableFactor) -> Option<Vec<Ident>> {
    match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        } => Some(vec![alias.name.clone()]),
        TableFactor::Table { name, .. } => {
            let idents = name.0.iter().map(|part| part.as_ident().cloned());
            idents.collect()
        }
        _ => None,
    }
}

fn renamed(columns: Option<Vec<String>>, alias: &TableAlias) -> Option<Vec<String>> {
    if columns.is_none() && !alias.columns.is_empty() {
        return Some(alias.columns.iter().map(|c| c.name.value.clone()).collect());
    }
    let mut columns = columns?;
    for (column, new) in columns.iter_mut().zip(&alias.columns) {
        column.clone_from(&new.name.value);
    }
    Some(columns)
}

/// Rewrites the joins of `tables` with ON, and returns the columns of `*`; `None` if
/// they are unknown.
pub(crate) fn joined(scope: &mut Scope<'_>, tables: &mut TableWithJoins) -> Option<Vec<Given>> {
    let mut given = factor(scope, &mut tables.relation)?;
    for join in &mut tables.joins {
        let right = factor(scope, &mut join.relation)?;
        given = match &mut join.join_operator {
            JoinOperator::Join(on)
            | JoinOperator::Inner(on)
            | JoinOperator::Left(on)
            | JoinOperator::LeftOuter(on) => matched(given, right, on, |left, _| left)?,
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => {
                matched(given, right, on, |_, right| right)?
            }
            JoinOperator::FullOuter(on) => matched(given, right, on, coalesce)?,
            JoinOperator::CrossJoin(JoinConstraint::None) => [given, right].concat(),
            JoinOperator::Semi(on)
            | JoinOperator::LeftSemi(on)
            | JoinOperator::Anti(on)
            | JoinOperator::LeftAnti(on) => {
                matched(given.clone(), right, on, |left, _| left)?;
                given
            }
            _ => return None,
        };
    }
    Some(given)
}

fn factor(scope: &mut Scope<'_>, factor: &mut TableFactor) -> Option<Vec<Given>> {
    match factor {
        TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } => joined(scope, table_with_joins),
        other => scope.of_factor(other),
    }
}

/// The columns of both sides of a join; `key` makes one column of the two columns of a
/// key.
fn matched(
    left: Vec<Given>,
    right: Vec<Given>,
    on: &mut JoinConstraint,
    key: fn(Expr, Expr) -> Expr,
) -> Option<Vec<Given>> {
    let names: Vec<String> = match on {
        JoinConstraint::On(_) | JoinConstraint::None => return Some([left, right].concat()),
        JoinConstraint::Using(names) => {
            let names = names
                .iter()
                .map(|name| Some((*parts(name).last()?).to_owned()));
            names.collect::<Option<_>>()?
        }
        JoinConstraint::Natural => {
            let has = |name: &String| right.iter().any(|r| r.name == *name);
            let names = left.iter().map(|l| &l.name).filter(|name| has(name));
            names.cloned().collect()
        }
    };
    let mut given = left;
    let mut equal: Option<Expr> = None;
    for name in &names {
        let mut those = given.iter_mut().filter(|l| same(&l.name, name));
        let mut others = right.iter().filter(|r| same(&r.name, name));
        let (Some(l), None, Some(r), None) =
            (those.next(), those.next(), others.next(), others.next())
        else {
            return None;
        };
        let one = Expr::BinaryOp {
            left: Box::new(l.expr.clone()),
            op: BinaryOperator::Eq,
            right: Box::new(r.expr.clone()),
        };
        equal = Some(match equal {
            Some(before) => Expr::BinaryOp {
                left: Box::new(before),
                op: BinaryOperator::And,
                right: Box::new(one),
            },
            None => one,
        });
        l.expr = key(l.expr.clone(), r.expr.clone());
    }
    *on = JoinConstraint::On(equal?);
    let is_key = |column: &Given| names.iter().any(|name| same(name, &column.name));
    given.extend(right.into_iter().filter(|column| !is_key(column)));
    Some(given)
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    let list = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("coalesce")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![list(left), list(right)],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// The columns that `* EXCLUDE … REPLACE … RENAME …` returns.
pub(crate) fn starred(
    mut columns: Vec<Given>,
    options: &WildcardAdditionalOptions,
) -> Result<Vec<Given>> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: None,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias: None,
    } = options
    else {
        return Err(unknown());
    };
    let mut left_out: Vec<&str> = vec![];
    match opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => left_out.extend(only(name)?),
        Some(ExcludeSelectItem::Multiple(names)) => {
            for name in names {
                left_out.extend(only(name)?);
            }
        }
        None => {}
    }
    if let Some(except) = opt_except {
        left_out.push(&except.first_element.value);
        left_out.extend(except.additional_elements.iter().map(|i| i.value.as_str()));
    }
    columns.retain(|column| !left_out.iter().any(|name| same(name, &column.name)));
    for element in opt_replace.iter().flat_map(|replace| &replace.items) {
        for column in &mut columns {
            if same(&column.name, &element.column_name.value) {
                column.expr = element.expr.clone();
            }
        }
    }
    let renames = match opt_rename {
        Some(RenameSelectItem::Single(rename)) => std::slice::from_ref(rename),
        Some(RenameSelectItem::Multiple(renames)) => renames,
        None => &[],
    };
    for rename in renames {
        for column in &mut columns {
            if same(&column.name, &rename.ident.value) {
                column.name.clone_from(&rename.alias.value);
            }
        }
    }
    Ok(columns)
}

fn only(name: &ObjectName) -> Result<Vec<&str>> {
    match parts(name).as_slice() {
        [name] => Ok(vec![*name]),
        _ => Err(unknown()),
    }
}

/// The name of an unnamed column: its text, with the function in lower case.
pub(crate) fn default_name(expr: &Expr) -> String {
    let text = expr.to_string();
    match text.split_once('(') {
        Some((function, rest)) => format!("{}({rest}", function.to_lowercase()),
        None => text,
    }
}

pub(crate) fn unknown() -> Error {
    Error::Sql {
        message: "The key columns of this RIGHT or FULL JOIN with USING or NATURAL are not known."
            .into(),
        hint: Some("Name them with ON: `ON a.k = b.k`.".into()),
    }
}
