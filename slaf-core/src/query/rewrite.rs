//! Our dialect in DataFusion's words, where it would understand something else
//! or nothing: `/` divides to a float, a backslash in a pattern is a backslash,
//! a median of integers is not truncated. What it is known to answer wrongly is
//! written otherwise, or refused.

use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, Cte, DataType, ExactNumberInfo, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinOperator, ObjectName, Query,
    Select, SelectItem, SetExpr, Statement, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use super::parse::parts;
use crate::{Error, Result};

pub(crate) fn for_datafusion(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Rewrite) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Functions that go by another name there.
const RENAMED: [(&str, &str); 3] = [
    ("variance", "var_samp"),
    ("approx_count_distinct", "approx_distinct"),
    ("quantile_cont", "percentile_cont"),
];

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Some(with) = query.with.as_mut().filter(|with| with.recursive) {
            with.cte_tables.iter_mut().for_each(name_first_term);
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
                if let Some(case) = if_to_case(function) {
                    *expr = case;
                } else {
                    rename(function);
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

fn rename(function: &mut Function) {
    let name = parts(&function.name).join(".").to_lowercase();
    if name == "distance" && arguments(function).len() == 2 {
        let metric = Expr::Value(Value::SingleQuotedString("l2".into()).into());
        if let FunctionArguments::List(list) = &mut function.args {
            list.args
                .push(FunctionArg::Unnamed(FunctionArgExpr::Expr(metric)));
        }
    }
    if name == "median" {
        arguments(function).into_iter().for_each(as_double);
    }
    if let Some((_, known)) = RENAMED.iter().find(|(ours, _)| *ours == name) {
        function.name = ObjectName::from(vec![Ident::new(*known)]);
    }
}

/// `IF(condition, a, b)`.
fn if_to_case(function: &mut Function) -> Option<Expr> {
    if !parts(&function.name).join(".").eq_ignore_ascii_case("if") {
        return None;
    }
    let arguments = arguments(function);
    let [condition, then, otherwise] = arguments.as_slice() else {
        return None;
    };
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: (**condition).clone(),
            result: (**then).clone(),
        }],
        else_result: Some(Box::new((**otherwise).clone())),
    })
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
