//! Rewrites our dialect into DataFusion's where DataFusion would understand
//! something else or nothing: `/` divides to a float, a backslash in a pattern is a
//! backslash, a median of integers is not truncated. What DataFusion is known to
//! answer wrongly is written differently or refused.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, Cte, DataType, ExactNumberInfo, Expr, Fetch, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, JoinOperator, LimitClause,
    ObjectName, OrderByExpr, OrderByOptions, Query, Select, SelectItem, SetExpr, Statement,
    TableAlias, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use super::computed_names::NameColumns;
use super::duckdb_functions;
use super::group_by_all::{group_by_all, order_by_all};
use super::relations::parts;
use super::subqueries::{quantified, tuple_in};
use crate::{Error, Result};

pub(crate) fn for_datafusion(statement: &mut Statement) -> Result<()> {
    // By their text as it was written.
    let _ = statement.visit(&mut NameColumns);
    duckdb_functions::expand(statement);
    match statement.visit(&mut Rewrite { unnamed: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewrite {
    /// The number of subqueries that were named, because DataFusion tells columns apart
    /// by these names.
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

/// `n(i) AS (SELECT 1 UNION ALL …)`: the recursive term refers to `i`, which DataFusion
/// finds only as an alias in the first term.
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

/// In DuckDB, the escape character is that of ESCAPE, or none; in DataFusion it is
/// always a backslash.
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

/// For `arg_max` and `arg_min`: whether the order is descending.
fn extreme(name: &str) -> Option<bool> {
    match name {
        "arg_max" | "argmax" | "max_by" => Some(true),
        "arg_min" | "argmin" | "min_by" => Some(false),
        _ => None,
    }
}

/// Rewrites `arg_max(x, y)`: the first x in the order of y, without NULLs.
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
    if let Some(own_filter) = function.filter.take() {
        filter = both(filter, Expr::Nested(own_filter));
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
