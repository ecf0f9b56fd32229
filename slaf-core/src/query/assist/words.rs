//! The words of an unfinished statement, and the tables that it names.

use arrow::datatypes::Field;
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::query::catalog::{Catalog, Named};

/// A table of the statement, with its name or alias.
pub(super) struct Source {
    pub(super) name: String,
    /// The table as it is written after FROM.
    pub(super) written: String,
    pub(super) fields: Vec<Field>,
}

impl Source {
    pub(super) fn columns(&self) -> impl Iterator<Item = (String, &'static str)> + '_ {
        self.fields.iter().map(|f| (quoted(f.name()), "column"))
    }
}

/// A name with quotes, if it needs them.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

pub(super) fn floor(sql: &str, cursor: usize) -> usize {
    (0..=cursor.min(sql.len()))
        .rev()
        .find(|at| sql.is_char_boundary(*at))
        .unwrap_or(0)
}

pub(super) fn last_word(text: &str) -> String {
    let text = text.trim_end().trim_end_matches('"');
    let word = text
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
        .next();
    word.unwrap_or_default().to_owned()
}

/// The tokens of `sql`, up to the first one that cannot be read.
pub(super) fn words(sql: &str) -> Vec<Token> {
    let mut tokens = vec![];
    // An open quote at the end is an error. The tokens before it are still in `tokens`.
    let _ = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location_into_buf(&mut tokens);
    tokens
        .into_iter()
        .map(|token| token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect()
}

/// The tables after FROM and JOIN.
pub(super) fn sources(sql: &str, catalog: &Catalog) -> Vec<Source> {
    let tokens = words(sql);
    let mut found = vec![];
    let mut at = 0;
    while at < tokens.len() {
        let from = matches!(&tokens[at], Token::Word(w) if matches!(w.keyword, Keyword::FROM | Keyword::JOIN));
        at += 1;
        if !from {
            continue;
        }
        loop {
            let mut parts = vec![];
            while let Some(Token::Word(word)) = tokens.get(at) {
                parts.push(word.value.clone());
                at += 1;
                if tokens.get(at) != Some(&Token::Period) {
                    break;
                }
                at += 1;
            }
            let Some(last) = parts.last().cloned() else {
                break;
            };
            if matches!(tokens.get(at), Some(Token::Word(w)) if w.keyword == Keyword::AS) {
                at += 1;
            }
            let alias = match tokens.get(at) {
                Some(Token::Word(w)) if w.keyword == Keyword::NoKeyword => {
                    at += 1;
                    Some(w.value.clone())
                }
                _ => None,
            };
            let path: Vec<&str> = parts.iter().map(String::as_str).collect();
            if let Ok((resolved, named)) = catalog.resolve(&path) {
                found.push(Source {
                    name: alias.unwrap_or(last),
                    written: resolved
                        .iter()
                        .map(|p| format!("\"{}\"", p.replace('"', "\"\"")))
                        .collect::<Vec<_>>()
                        .join("."),
                    fields: fields(&named),
                });
            }
            if tokens.get(at) != Some(&Token::Comma) {
                break;
            }
            at += 1;
        }
    }
    found
}

pub(super) fn fields(named: &Named<'_>) -> Vec<Field> {
    named
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect()
}

/// The position of a quote that is still open at the end of the text.
pub(super) fn open_quote(before: &str) -> Option<usize> {
    let mut open = None;
    for (at, c) in before.char_indices() {
        match (open, c) {
            (None, '\'' | '"') => open = Some((at, c)),
            (Some((_, quote)), c) if c == quote => open = None,
            _ => {}
        }
    }
    open.filter(|(_, quote)| *quote == '\'').map(|(at, _)| at)
}
