//! DuckDB functions that DataFusion has under another name, or does not have, each
//! written as an expression of functions that it has.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Select,
    SelectItem, SetExpr, Statement, UnaryOperator, VisitMut, VisitorMut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::query::language::relations::parts;

/// Name, number of arguments, and expression: `_1` is the first argument, `_2` the
/// second.
const MACROS: [(&str, usize, &str); 51] = [
    ("if", 3, "CASE WHEN _1 THEN _2 ELSE _3 END"),
    ("len", 1, "length(_1)"),
    ("distance", 2, "distance(_1, _2, 'l2')"),
    ("variance", 1, "var_samp(_1)"),
    // DataFusion truncates the median of integers to an integer.
    ("median", 1, "median(CAST(_1 AS DOUBLE))"),
    ("ceiling", 1, "ceil(_1)"),
    ("mod", 2, "_1 % _2"),
    ("strlen", 1, "octet_length(_1)"),
    ("string_split", 2, SPLIT),
    ("str_split", 2, SPLIT),
    ("prefix", 2, "starts_with(_1, _2)"),
    ("suffix", 2, "ends_with(_1, _2)"),
    ("regexp_matches", 2, "regexp_like(_1, _2 || '()')"),
    ("regexp_matches", 3, "regexp_like(_1, _2 || '()', _3)"),
    ("regexp_full_match", 2, WHOLE),
    (
        "regexp_extract",
        2,
        "CASE WHEN _1 IS NOT NULL THEN COALESCE(regexp_match(_1, '(' || _2 || ')')[1], '') END",
    ),
    (
        "regexp_extract",
        3,
        "CASE WHEN _1 IS NOT NULL THEN COALESCE(regexp_match(_1, '(' || _2 || ')')[1 + _3], '') END",
    ),
    ("year", 1, "CAST(date_part('year', _1) AS BIGINT)"),
    ("quarter", 1, "CAST(date_part('quarter', _1) AS BIGINT)"),
    ("month", 1, "CAST(date_part('month', _1) AS BIGINT)"),
    ("week", 1, "CAST(date_part('week', _1) AS BIGINT)"),
    ("day", 1, "CAST(date_part('day', _1) AS BIGINT)"),
    ("hour", 1, "CAST(date_part('hour', _1) AS BIGINT)"),
    ("minute", 1, "CAST(date_part('minute', _1) AS BIGINT)"),
    (
        "second",
        1,
        "CAST(floor(date_part('second', _1)) AS BIGINT)",
    ),
    ("dayofweek", 1, "CAST(date_part('dow', _1) AS BIGINT)"),
    ("dayofyear", 1, "CAST(date_part('doy', _1) AS BIGINT)"),
    ("epoch", 1, "CAST(date_part('epoch', _1) AS DOUBLE)"),
    ("dayname", 1, "to_char(_1, '%A')"),
    ("monthname", 1, "to_char(_1, '%B')"),
    ("strftime", 2, "to_char(_1, _2)"),
    (
        "last_day",
        1,
        "CAST(date_trunc('month', _1) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)",
    ),
    ("atan2", 2, "atan2(CAST(_1 AS DOUBLE), CAST(_2 AS DOUBLE))"),
    ("group_concat", 2, "string_agg(_1, _2)"),
    ("listagg", 2, "string_agg(_1, _2)"),
    ("list", 1, "array_agg(_1)"),
    ("first", 1, "first_value(_1)"),
    ("last", 1, "last_value(_1)"),
    ("arbitrary", 1, "first_value(_1)"),
    (
        "any_value",
        1,
        "first_value(_1) FILTER (WHERE _1 IS NOT NULL)",
    ),
    ("count_if", 1, "count(CASE WHEN _1 THEN 1 END)"),
    ("countif", 1, "count(CASE WHEN _1 THEN 1 END)"),
    ("favg", 1, "avg(_1)"),
    ("fsum", 1, "sum(CAST(_1 AS DOUBLE))"),
    ("sumkahan", 1, "sum(CAST(_1 AS DOUBLE))"),
    ("kahan_sum", 1, "sum(CAST(_1 AS DOUBLE))"),
    ("geomean", 1, "exp(avg(ln(_1)))"),
    ("geometric_mean", 1, "exp(avg(ln(_1)))"),
    ("approx_quantile", 2, "approx_percentile_cont(_1, _2)"),
    ("approx_count_distinct", 1, "approx_distinct(_1)"),
    ("quantile_cont", 2, "percentile_cont(_1, _2)"),
];

/// Matches only if the whole text matches.
const WHOLE: &str = "regexp_like(_1, '^(?:' || _2 || ')$')";

/// An empty text is split into one empty text, not into an empty list.
const SPLIT: &str = "CASE WHEN _1 = '' THEN make_array('') ELSE string_to_array(_1, _2) END";

/// Replaces these functions in `statement` by their expressions.
pub(crate) fn expand(statement: &mut Statement) {
    let _ = statement.visit(&mut Expander);
}

struct Expander;

impl VisitorMut for Expander {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                if let Some(written) = written(function) {
                    *expr = written;
                }
            }
            // `^` is a power in DuckDB, and XOR in DataFusion.
            Expr::BinaryOp {
                left,
                op: BinaryOperator::BitwiseXor,
                right,
            } => {
                let arguments = [(**left).clone(), (**right).clone()];
                if let Some(power) = filled("power(CAST(_1 AS DOUBLE), _2)", &arguments) {
                    *expr = power;
                }
            }
            // SIMILAR TO matches the whole text.
            Expr::SimilarTo {
                negated,
                expr: text,
                pattern,
                escape_char: None,
            } => {
                let arguments = [(**text).clone(), (**pattern).clone()];
                let negated = *negated;
                if let Some(matches) = filled(WHOLE, &arguments) {
                    *expr = match negated {
                        false => matches,
                        true => Expr::UnaryOp {
                            op: UnaryOperator::Not,
                            expr: Box::new(matches),
                        },
                    };
                }
            }
            // A negative position counts from the end.
            Expr::Substring {
                expr: text,
                substring_from: Some(from),
                ..
            } if !matches!(&**from, Expr::Value(_)) => {
                let arguments = [(**text).clone(), (**from).clone()];
                let template = "CASE WHEN _2 < 0 THEN length(_1) + _2 + 1 ELSE _2 END";
                if let Some(counted) = filled(template, &arguments) {
                    **from = counted;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The expression for `function`. Its FILTER and OVER clauses are kept.
fn written(function: &Function) -> Option<Expr> {
    let name = parts(&function.name).join(".").to_lowercase();
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let arguments = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    let arguments: Vec<Expr> = arguments.collect::<Option<_>>()?;
    let known = MACROS
        .iter()
        .find(|(macro_name, takes, _)| *macro_name == name && *takes == arguments.len());
    let (_, _, template) = known?;
    let mut expr = filled(template, &arguments)?;
    // DISTINCT, FILTER, OVER … go to the function that is now called.
    if let Expr::Function(called) = &mut expr
        && called.filter.is_none()
    {
        called.filter = function.filter.clone();
        called.over = function.over.clone();
        called.null_treatment = function.null_treatment;
        called.within_group.clone_from(&function.within_group);
        if let FunctionArguments::List(inner) = &mut called.args {
            inner.duplicate_treatment = list.duplicate_treatment;
            inner.clauses.clone_from(&list.clauses);
        }
    } else if function.filter.is_some() || function.over.is_some() || !list.clauses.is_empty() {
        return None;
    }
    Some(expr)
}

fn filled(template: &str, arguments: &[Expr]) -> Option<Expr> {
    let sql = format!("SELECT ({template})");
    let mut parsed = Parser::parse_sql(&GenericDialect {}, &sql).ok()?;
    let Some(Statement::Query(query)) = parsed.pop() else {
        return None;
    };
    let SetExpr::Select(select) = *query.body else {
        return None;
    };
    let Select { projection, .. } = *select;
    let Some(SelectItem::UnnamedExpr(Expr::Nested(mut expr))) = projection.into_iter().next()
    else {
        return None;
    };
    let _ = expr.visit(&mut Fill(arguments));
    Some(*expr)
}

struct Fill<'a>(&'a [Expr]);

impl VisitorMut for Fill<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some(place) = ident.value.strip_prefix('_')
            && let Some(argument) = place.parse().ok().and_then(|n: usize| self.0.get(n - 1))
        {
            *expr = match argument {
                simple @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)) => {
                    simple.clone()
                }
                other => Expr::Nested(Box::new(other.clone())),
            };
        }
        ControlFlow::Continue(())
    }
}
