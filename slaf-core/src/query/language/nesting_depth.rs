//! Keeps statements from overflowing the stack of functions that walk their tree.
//!
//! Programs write filters as long chains of AND, OR, `||` and UNION. These
//! operators are associative, so the chains are turned into trees of little depth.
//! A statement that is still nested deeper than [`DEEPEST`] is refused.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Query, Select, SetExpr, SetOperator, SetQuantifier, Statement, Table,
    Value, VisitMut, VisitorMut,
};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::{Error, Result};

/// Maximum depth of nested expressions and queries, as in DuckDB.
pub(crate) const DEEPEST: usize = 1000;
/// Maximum depth of subqueries in expressions: each level doubles the planning time
/// (0.4 s for 16).
const DEEPEST_SUBQUERY: usize = 12;
/// Chains up to this length are not changed.
const SHORT: usize = 64;
/// Stack that parsing one level needs; 20 kB were measured.
const PARSED: usize = 48 << 10;
/// Stack that dropping one level of a chain needs.
const DROPPED: usize = 1 << 10;
/// Maximum number of tokens in a statement, which limits the stack.
const LONGEST: usize = 1 << 20;

/// Calls `work`, which parses `tokens`, with enough stack for their deepest possible
/// nesting.
pub(crate) fn with_room<T>(
    tokens: Vec<TokenWithSpan>,
    work: impl FnOnce(Vec<TokenWithSpan>) -> Result<T>,
) -> Result<T> {
    let words = tokens.iter().map(|token| &token.token);
    let words: Vec<&Token> = words
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    let nest = |token: &&&Token| {
        !matches!(
            token,
            Token::Comma
                | Token::Period
                | Token::RParen
                | Token::Number(..)
                | Token::SingleQuotedString(_)
        )
    };
    let levels = words.iter().filter(nest).count();
    if levels > LONGEST {
        return Err(Error::Sql {
            message: format!("The statement has {levels} words; it may have at most {LONGEST}."),
            hint: Some("Put the values into a frame, and join it or use it after IN.".into()),
        });
    }
    // The parser does not limit how deeply these nest.
    let unlimited = words.windows(2).filter(|pair| nests(pair)).count();
    if unlimited > DEEPEST {
        return Err(too_deep());
    }
    let needed = (1 << 18) + levels.min(DEEPEST) * PARSED + levels * DROPPED;
    stacker::maybe_grow(needed, needed + (1 << 18), || work(tokens))
}

/// Whether two tokens begin something whose depth the parser does not limit: a nested
/// type (`ARRAY<`, `STRUCT(`, … `[]`), or an interval of an interval.
fn nests(pair: &[&Token]) -> bool {
    const TYPES: [&str; 7] = [
        "array",
        "struct",
        "map",
        "tuple",
        "nested",
        "nullable",
        "lowcardinality",
    ];
    let is = |word: &Word, of: &[&str]| of.contains(&word.value.to_lowercase().as_str());
    match (pair[0], pair[1]) {
        (Token::LBracket, Token::RBracket) => true,
        (Token::Word(word), Token::Lt | Token::LParen) => is(word, &TYPES),
        (Token::Word(one), Token::Word(other)) => {
            is(one, &["interval"]) && is(other, &["interval"])
        }
        _ => false,
    }
}

/// Flattens long chains in `statement`. Fails if it is still nested too deeply.
pub(crate) fn settle(statement: &mut Statement) -> Result<()> {
    let mut flatten = Flatten {
        depth: 0,
        subqueries: 0,
    };
    match statement.visit(&mut flatten) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

pub(crate) fn too_deep() -> Error {
    Error::Sql {
        message: format!("The statement is nested deeper than {DEEPEST} levels."),
        hint: Some("Write a long chain as a list (`x IN (…)`), or join a frame of values.".into()),
    }
}

fn too_nested() -> Error {
    Error::Sql {
        message: format!(
            "Subqueries inside of expressions are nested deeper than {DEEPEST_SUBQUERY} levels."
        ),
        hint: Some("Name the inner ones: `WITH name AS (SELECT …)`.".into()),
    }
}

struct Flatten {
    depth: usize,
    /// The number of enclosing subqueries in expressions.
    subqueries: usize,
}

fn has_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. }
    )
}

impl Flatten {
    fn deeper(&mut self) -> ControlFlow<Error> {
        self.depth += 1;
        match self.depth > DEEPEST {
            true => ControlFlow::Break(too_deep()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl VisitorMut for Flatten {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        flatten_set(&mut query.body);
        // These are not visited one by one.
        if set_depth(&query.body) > DEEPEST {
            return ControlFlow::Break(too_deep());
        }
        self.deeper()
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    /// Each join is planned inside of the next one.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let joins = select.from.iter().map(|tables| tables.joins.len() + 1);
        match joins.sum::<usize>() > DEEPEST {
            true => ControlFlow::Break(too_deep()),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flatten_expr(expr);
        if let Expr::CompoundFieldAccess { access_chain, .. } = expr
            && access_chain.len() > DEEPEST
        {
            return ControlFlow::Break(too_deep());
        }
        self.subqueries += usize::from(has_subquery(expr));
        if self.subqueries > DEEPEST_SUBQUERY {
            return ControlFlow::Break(too_nested());
        }
        self.deeper()
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        self.subqueries -= usize::from(has_subquery(expr));
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

#[expect(
    clippy::result_large_err,
    reason = "`Err` returns the term that was given"
)]
fn flatten_expr(expr: &mut Expr) {
    let Expr::BinaryOp { op, .. } = &*expr else {
        return;
    };
    let op = op.clone();
    if !matches!(
        op,
        BinaryOperator::And | BinaryOperator::Or | BinaryOperator::StringConcat
    ) {
        return;
    }
    let split = |expr| match expr {
        Expr::BinaryOp { left, op: o, right } if o == op => Ok((*left, *right)),
        other => Err(other),
    };
    let join = |left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: op.clone(),
        right: Box::new(right),
    };
    flatten(expr, Expr::Value(Value::Null.into()), split, &join);
}

#[expect(
    clippy::result_large_err,
    reason = "`Err` returns the term that was given"
)]
fn flatten_set(body: &mut SetExpr) {
    let SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: quantifier @ (SetQuantifier::All | SetQuantifier::None),
        ..
    } = &*body
    else {
        return;
    };
    let quantifier = *quantifier;
    let nothing = SetExpr::Table(Box::new(Table {
        table_name: None,
        schema_name: None,
    }));
    let split = |body| match body {
        SetExpr::SetOperation {
            left,
            op: SetOperator::Union,
            set_quantifier,
            right,
        } if set_quantifier == quantifier => Ok((*left, *right)),
        other => Err(other),
    };
    let join = |left, right| SetExpr::SetOperation {
        left: Box::new(left),
        op: SetOperator::Union,
        set_quantifier: quantifier,
        right: Box::new(right),
    };
    flatten(body, nothing, split, &join);
}

/// Balances a long chain. `split` takes its last term; `nothing` is a placeholder
/// meanwhile.
fn flatten<T>(
    chain: &mut T,
    nothing: T,
    split: impl Fn(T) -> std::result::Result<(T, T), T>,
    join: &impl Fn(T, T) -> T,
) {
    let mut terms = vec![];
    let mut rest = std::mem::replace(chain, nothing);
    loop {
        match split(rest) {
            Ok((before, last)) => {
                terms.push(last);
                rest = before;
            }
            Err(first) => {
                terms.push(first);
                break;
            }
        }
    }
    let whole = match terms.len() > SHORT {
        true => Some(balanced(terms.len(), &mut terms, join)),
        false => terms.into_iter().rev().reduce(join),
    };
    if let Some(whole) = whole {
        *chain = whole;
    }
}

/// The depth of nested set operations.
fn set_depth(body: &SetExpr) -> usize {
    let mut deepest = 0;
    let mut todo = vec![(body, 1)];
    while let Some((body, depth)) = todo.pop() {
        deepest = depth.max(deepest);
        if let SetExpr::SetOperation { left, right, .. } = body {
            todo.extend([(&**left, depth + 1), (&**right, depth + 1)]);
        }
    }
    deepest
}

/// Joins the last `n` of `terms` to a balanced tree. The terms are in reverse order,
/// and the tree restores their order.
fn balanced<T>(n: usize, terms: &mut Vec<T>, join: &impl Fn(T, T) -> T) -> T {
    if n < 2 {
        #[expect(clippy::expect_used, reason = "`n` counts them")]
        return terms.pop().expect("one is left");
    }
    let left = balanced(n / 2, terms, join);
    join(left, balanced(n - n / 2, terms, join))
}
