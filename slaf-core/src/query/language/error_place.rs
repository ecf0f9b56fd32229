//! The parser's errors, with their position in the statement.

use sqlparser::dialect::GenericDialect;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::nesting_depth;
use crate::Error;

/// The parser's message, with the line of the error and a caret under the column.
pub(super) fn explain(sql: &str, error: &ParserError) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => return nesting_depth::too_deep(),
    };
    let (message, place) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => (message.to_owned(), place.split_once(", Column: ")),
        None => (text.clone(), None),
    };
    let message = message.replace("found: EOF", "found the end of the statement");
    let place = place.and_then(|(line, column)| {
        let (line, column): (usize, usize) = (line.parse().ok()?, column.trim().parse().ok()?);
        caret(sql, line, column)
    });
    Error::Sql {
        message: format!("{message}{}", place.unwrap_or_else(|| ".".into())),
        hint: None,
    }
}

/// The text of a line, with a caret under the column.
fn caret(sql: &str, line: usize, column: usize) -> Option<String> {
    const AROUND: usize = 60;
    let source = sql.lines().nth(line.checked_sub(1)?)?;
    let before = column.saturating_sub(1);
    // A long line is shortened to the text around the column.
    let skipped = if before > 2 * AROUND {
        before - AROUND
    } else {
        0
    };
    let mut shown = String::from(if skipped > 0 { "…" } else { "" });
    let mut letters = source.chars().skip(skipped);
    shown.extend(letters.by_ref().take(3 * AROUND));
    if letters.next().is_some() {
        shown.push('…');
    }
    let indent = " ".repeat(before - skipped + usize::from(skipped > 0));
    Some(format!(
        " (line {line}, column {column})\n  {shown}\n  {indent}^"
    ))
}

/// The position of the first `name` in `sql`, shown as in [`explain`].
pub(crate) fn place(sql: &str, name: &str) -> Option<String> {
    let last = name.rsplit('.').next()?.trim_start_matches('$');
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .ok()?;
    let token = tokens.iter().find(|token| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(last),
        Token::Placeholder(text) => text.trim_start_matches('$') == last,
        _ => false,
    })?;
    let start = token.span.start;
    caret(sql, start.line as usize, start.column as usize)
}
