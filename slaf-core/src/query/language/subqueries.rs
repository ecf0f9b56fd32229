//! Rewrites subqueries that DataFusion answers wrongly into forms that it answers
//! correctly.

use sqlparser::ast::{BinaryOperator, Expr, Statement};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::{Error, Result};

/// Rewrites `(a, b) IN (SELECT x, y …)` with EXISTS.
pub(super) fn tuple_in(expr: &mut Expr) -> Result<()> {
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

/// DataFusion 54 answers `x > ALL (SELECT …)` and `x = ANY (SELECT …)` wrongly.
pub(super) fn quantified(expr: &mut Expr) -> Result<()> {
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
