//! LIKE, as the cheapest of a comparison, a search, or a regular expression.

use datafusion::logical_expr::expr::Like;
use polars::prelude::{Expr as PlExpr, lit};

use super::literals::text;
use super::unsupported::{Lowered, refuse};

/// `of LIKE pattern`.
pub(super) fn like(of: PlExpr, like: &Like) -> Lowered<PlExpr> {
    let Like {
        negated,
        expr: _,
        pattern,
        escape_char: None,
        case_insensitive,
    } = like
    else {
        return refuse("LIKE with ESCAPE");
    };
    let Some(pattern) = text(pattern) else {
        return refuse("LIKE with a pattern that is computed");
    };
    let matches = match (simple(&pattern), case_insensitive) {
        (Some(Simple::Is(text)), false) => of.eq(lit(text)),
        (Some(Simple::Begins(text)), false) => of.str().starts_with(lit(text)),
        (Some(Simple::Ends(text)), false) => of.str().ends_with(lit(text)),
        (Some(Simple::Has(text)), false) => of.str().contains_literal(lit(text)),
        _ => of
            .str()
            .contains(lit(regex_of(&pattern, *case_insensitive)), true),
    };
    Ok(if *negated { matches.not() } else { matches })
}

/// A LIKE pattern that needs no regular expression.
enum Simple {
    Is(String),
    Begins(String),
    Ends(String),
    Has(String),
}

fn simple(pattern: &str) -> Option<Simple> {
    if pattern.contains(['_', '\\']) {
        return None;
    }
    let inner = pattern.trim_matches('%');
    if inner.contains('%') || inner.is_empty() {
        return None;
    }
    let text = inner.to_owned();
    Some(match (pattern.starts_with('%'), pattern.ends_with('%')) {
        (false, false) => Simple::Is(text),
        (false, true) => Simple::Begins(text),
        (true, false) => Simple::Ends(text),
        (true, true) => Simple::Has(text),
    })
}

fn regex_of(pattern: &str, case_insensitive: bool) -> String {
    let mut found = String::from(if case_insensitive { "(?is)^" } else { "(?s)^" });
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => found.push_str(".*"),
            '_' => found.push('.'),
            letter => {
                let literal = match letter {
                    '\\' => letters.next().unwrap_or('\\'),
                    other => other,
                };
                // A backslash before a character does not always make it literal: `\<` is
                // the start of a word.
                found.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            }
        }
    }
    found.push('$');
    found
}
