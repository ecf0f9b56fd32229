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

/// Expressions and queries inside of each other, at most; as in DuckDB.
pub(crate) const DEEPEST: usize = 1000;
/// Subqueries inside of expressions of each other, at most: planning takes twice
/// the time for each level (0.4 s for 16).
const DEEPEST_SUBQUERY: usize = 12;
/// Shorter chains stay as they are.
const SHORT: usize = 64;
/// Stack that a level takes to be parsed: 20 kB were measured.
const PARSED: usize = 48 << 10;
/// Stack that a level of a chain takes to be dropped.
const DROPPED: usize = 1 << 10;
/// Words of a statement, at most: a bound for the stack.
const LONGEST: usize = 1 << 20;

/// Runs `work`, which parses `tokens`, with a stack for all that they can nest.
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
            message: format!("The statement has {levels} words, and {LONGEST} are the most."),
            hint: Some("Put the values into a frame, and join it or use it after IN.".into()),
        });
    }
    // Nothing else limits how deeply these nest.
    let unlimited = words.windows(2).filter(|pair| nests(pair)).count();
    if unlimited > DEEPEST {
        return Err(too_deep());
    }
    let needed = (1 << 18) + levels.min(DEEPEST) * PARSED + levels * DROPPED;
    stacker::maybe_grow(needed, needed + (1 << 18), || work(tokens))
}

/// Whether something begins whose depth the parser does not limit: a type that
/// others are in (`ARRAY<`, `STRUCT(`, … `[]`), or an interval of an interval.
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

/// Takes the depth from `statement`, or refuses it.
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
    /// Subqueries of expressions around.
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

    /// Joins are planned one in the other.
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

/// Makes a chain, which `split` takes its last term from, flat if it is long;
/// `nothing` is in its place meanwhile.
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

/// Set operations one in the other.
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

/// The last `n` of `terms`, which are in the order from right to left, as one
/// tree that keeps their order.
fn balanced<T>(n: usize, terms: &mut Vec<T>, join: &impl Fn(T, T) -> T) -> T {
    if n < 2 {
        #[expect(clippy::expect_used, reason = "`n` counts them")]
        return terms.pop().expect("one is left");
    }
    let left = balanced(n / 2, terms, join);
    join(left, balanced(n - n / 2, terms, join))
}
