//! Our dialect in DataFusion's words, where it would understand something else
//! or nothing: `/` divides to a float, a backslash in a pattern is a backslash,
//! a median of integers is not truncated. What it is known to answer wrongly is
//! written otherwise, or refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, Cte, DataType, ExactNumberInfo, Expr, Fetch, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, JoinOperator,
    LimitClause, ObjectName, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, Select,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, Value, ValueWithSpan, VisitMut,
    VisitorMut, visit_expressions,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::query::dialect::session::is_aggregate;
use crate::query::language::columns::default_name;
use crate::query::language::macros;
use crate::query::language::parse::parts;
use crate::{Error, Result};

pub(crate) fn for_datafusion(statement: &mut Statement) -> Result<()> {
    // By their text as it was written.
    let _ = statement.visit(&mut NameColumns);
    macros::expand(statement);
    match statement.visit(&mut Rewrite { unnamed: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct NameColumns;

impl VisitorMut for NameColumns {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_columns(&mut select.projection);
        ControlFlow::Continue(())
    }
}

struct Rewrite {
    /// Subqueries that got a name, which DataFusion tells their columns by.
    unnamed: usize,
}

impl VisitorMut for Rewrite {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Some(with) = query.with.as_mut().filter(|with| with.recursive) {
            with.cte_tables.iter_mut().for_each(name_first_term);
        }
        if let (
            None,
            Some(Fetch {
                quantity: Some(n),
                with_ties: false,
                percent: false,
            }),
        ) = (&query.limit_clause, &query.fetch)
        {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(n.clone()),
                offset: None,
                limit_by: vec![],
            });
            query.fetch = None;
        }
        if let SetExpr::Select(select) = &mut *query.body {
            group_by_all(select);
            if let Some(order_by) = &mut query.order_by {
                order_by_all(order_by, select.projection.len());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::Derived { alias, .. } = factor
            && alias.is_none()
        {
            self.unnamed += 1;
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::new(format!("_query{}", self.unnamed)),
                columns: vec![],
                at: None,
            });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            match &mut join.join_operator {
                JoinOperator::Semi(on) => join.join_operator = JoinOperator::LeftSemi(on.clone()),
                JoinOperator::Anti(on) => join.join_operator = JoinOperator::LeftAnti(on.clone()),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match expr {
            Expr::BinaryOp { left, op, .. } => match op {
                BinaryOperator::Divide => as_double(left),
                BinaryOperator::DuckIntegerDivide => *op = BinaryOperator::Divide,
                _ => {}
            },
            Expr::Like {
                pattern,
                escape_char,
                ..
            }
            | Expr::ILike {
                pattern,
                escape_char,
                ..
            } => escape_by_backslash(pattern, escape_char),
            Expr::Function(function) => {
                if let Some(descending) = extreme(&parts(&function.name).join(".").to_lowercase()) {
                    first_by(function, descending);
                }
            }
            Expr::InSubquery { .. } => {
                if let Err(error) = tuple_in(expr) {
                    return ControlFlow::Break(error);
                }
            }
            Expr::AnyOp { .. } | Expr::AllOp { .. } => {
                if let Err(error) = quantified(expr) {
                    return ControlFlow::Break(error);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A computed column is named by its text as it was written, and not by what
/// becomes of it; the second of a name gets a number.
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

/// `GROUP BY ALL`: by every column that is no aggregate.
fn group_by_all(select: &mut Select) {
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

/// `ORDER BY ALL`: by every column, from left to right.
fn order_by_all(order_by: &mut OrderBy, columns: usize) {
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

/// `(a, b) IN (SELECT x, y …)` as EXISTS.
fn tuple_in(expr: &mut Expr) -> Result<()> {
    let Expr::InSubquery {
        expr: subject,
        subquery,
        negated,
    } = expr
    else {
        return Ok(());
    };
    let Expr::Tuple(items) = &**subject else {
        return Ok(());
    };
    if *negated {
        return Err(Error::Sql {
            message: "`(a, b) NOT IN (SELECT …)` is not supported.".into(),
            hint: Some("Write `NOT EXISTS (SELECT … WHERE x = a AND y = b)`.".into()),
        });
    }
    let names: Vec<String> = (0..items.len()).map(|n| format!("_item{n}")).collect();
    let equal = items
        .iter()
        .zip(&names)
        .map(|(item, name)| format!("_tuple.{name} = {item}"));
    let equal: Vec<String> = equal.collect();
    let sql = format!(
        "SELECT 1 FROM ({subquery}) AS _tuple({}) WHERE {}",
        names.join(", "),
        equal.join(" AND ")
    );
    let parsed = Parser::parse_sql(&GenericDialect {}, &sql).ok();
    if let Some(Statement::Query(subquery)) = parsed.and_then(|mut parsed| parsed.pop()) {
        *expr = Expr::Exists {
            subquery,
            negated: false,
        };
    }
    Ok(())
}

fn as_double(expr: &mut Expr) {
    let inner = std::mem::replace(expr, Expr::Value(Value::Null.into()));
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(inner),
        data_type: DataType::Double(ExactNumberInfo::None),
        array: false,
        format: None,
    };
}

/// `n(i) AS (SELECT 1 UNION ALL …)`: the recursive term refers to `i`, and
/// DataFusion knows it there only as an alias in the first term.
fn name_first_term(cte: &mut Cte) {
    let SetExpr::SetOperation { left, .. } = &mut *cte.query.body else {
        return;
    };
    let SetExpr::Select(select) = &mut **left else {
        return;
    };
    for (item, column) in select.projection.iter_mut().zip(&cte.alias.columns) {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: column.name.clone(),
            };
        }
    }
}

/// A pattern escapes by the character that ESCAPE names, or by none;
/// DataFusion's always by a backslash.
fn escape_by_backslash(pattern: &mut Expr, escape_char: &mut Option<ValueWithSpan>) {
    let Expr::Value(ValueWithSpan {
        value: Value::SingleQuotedString(text),
        ..
    }) = pattern
    else {
        return;
    };
    let escape = match escape_char.take().map(|c| c.value) {
        Some(Value::SingleQuotedString(c)) => c.chars().next(),
        _ => None,
    };
    let mut rewritten = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let escaped = if Some(letter) == escape {
            letters.next()
        } else {
            None
        };
        match escaped {
            Some(next) => rewritten.extend(['\\', next]),
            None if letter == '\\' => rewritten.push_str("\\\\"),
            None => rewritten.push(letter),
        }
    }
    *text = rewritten;
}

fn arguments(function: &mut Function) -> Vec<&mut Expr> {
    let FunctionArguments::List(list) = &mut function.args else {
        return vec![];
    };
    list.args
        .iter_mut()
        .filter_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}

/// Whether a function picks the value beside the greatest or least other one.
fn extreme(name: &str) -> Option<bool> {
    match name {
        "arg_max" | "argmax" | "max_by" => Some(true),
        "arg_min" | "argmin" | "min_by" => Some(false),
        _ => None,
    }
}

/// `arg_max(x, y)`: the first x in the order of y, NULLs left out.
fn first_by(function: &mut Function, descending: bool) {
    let found: Vec<Expr> = arguments(function).into_iter().map(|a| a.clone()).collect();
    let [value, by] = found.as_slice() else {
        return;
    };
    let (value, by) = (value.clone(), by.clone());
    let known = |expr: &Expr| Expr::IsNotNull(Box::new(Expr::Nested(Box::new(expr.clone()))));
    let both = |left: Expr, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    };
    let mut filter = both(known(&value), known(&by));
    if let Some(asked) = function.filter.take() {
        filter = both(filter, Expr::Nested(asked));
    }
    function.filter = Some(Box::new(filter));
    function.name = ObjectName::from(vec![Ident::new("first_value")]);
    if let FunctionArguments::List(list) = &mut function.args {
        list.args.pop();
        list.clauses
            .push(FunctionArgumentClause::OrderBy(vec![OrderByExpr {
                expr: by,
                options: OrderByOptions {
                    asc: Some(!descending),
                    nulls_first: Some(false),
                },
                with_fill: None,
            }]));
    }
}

/// DataFusion 54 answers `x > ALL (SELECT …)` and `x = ANY (SELECT …)` wrongly.
fn quantified(expr: &mut Expr) -> Result<()> {
    let (left, op, right, negated) = match expr {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => (left, compare_op, right, false),
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => (left, compare_op, right, true),
        _ => return Ok(()),
    };
    let Expr::Subquery(subquery) = &**right else {
        return Ok(());
    };
    let wanted = if negated {
        BinaryOperator::NotEq
    } else {
        BinaryOperator::Eq
    };
    if *op != wanted {
        return Err(Error::Sql {
            message: format!(
                "`{op} {}` over a subquery is not supported.",
                if negated { "ALL" } else { "ANY" }
            ),
            hint: Some("Compare with its MIN or MAX: `x > (SELECT MAX(y) FROM …)`.".into()),
        });
    }
    *expr = Expr::InSubquery {
        expr: left.clone(),
        subquery: subquery.clone(),
        negated,
    };
    Ok(())
}
