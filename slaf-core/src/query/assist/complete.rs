//! What may stand at a place of a statement. The statement is mostly unfinished,
//! so that it is looked at word by word.

use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};

use crate::query::catalog::{Catalog, Named};
use crate::query::dialect::session;
use crate::query::language::params::Params;
use crate::query::request::{Engine, Options};
use crate::query::run::run;
use crate::{Result, Table};

/// Values of a column that are offered, at most.
const VALUES: usize = 100;

/// Candidates for the text from `start` to the place asked about, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub start: usize,
    /// The text, and what it is.
    pub matches: Vec<(String, &'static str)>,
}

const KEYWORDS: [&str; 66] = [
    "ALL",
    "AND",
    "ANTI JOIN",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CREATE TABLE",
    "CREATE VIEW",
    "CROSS JOIN",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXCLUDE",
    "EXISTS",
    "EXPLAIN",
    "EXPLAIN ANALYZE",
    "FALSE",
    "FILTER",
    "FIRST",
    "FROM",
    "FULL JOIN",
    "GROUP BY",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER JOIN",
    "INTERSECT",
    "IS",
    "JOIN",
    "LAST",
    "LATERAL",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER BY",
    "OVER",
    "PARTITION BY",
    "PIVOT",
    "QUALIFY",
    "RECURSIVE",
    "RIGHT JOIN",
    "ROLLUP",
    "SELECT",
    "SEMI JOIN",
    "SHOW TABLES",
    "SUMMARIZE",
    "THEN",
    "TRUE",
    "UNION",
    "USING",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Words that a table follows.
const BEFORE_TABLES: [&str; 5] = ["from", "join", "describe", "summarize", "desc"];

/// What may stand at byte `cursor` of `sql`.
pub async fn complete(catalog: &Catalog, sql: &str, cursor: usize) -> Result<Completion> {
    let cursor = floor(sql, cursor);
    let before = &sql[..cursor];
    let sources = sources(sql, catalog);
    if let Some(open) = open_quote(before) {
        return values(catalog, &sources, before, open).await;
    }
    let start = before
        .char_indices()
        .rev()
        .take_while(|(_, c)| c.is_alphanumeric() || *c == '_')
        .last()
        .map_or(cursor, |(at, _)| at);
    let prefix = &before[start..];
    let mut matches = vec![];
    if let Some(qualified) = before[..start].strip_suffix('.') {
        let qualifier = last_word(qualified);
        match sources
            .iter()
            .find(|s| s.name.eq_ignore_ascii_case(&qualifier))
        {
            Some(source) => matches.extend(source.columns()),
            None => {
                matches.extend(tables_of(catalog, &qualifier));
                matches.extend(columns_called(catalog, &qualifier));
            }
        }
    } else if BEFORE_TABLES.contains(&last_word(&before[..start]).to_lowercase().as_str()) {
        matches.extend(tables(catalog, sql));
    } else {
        for source in &sources {
            matches.extend(source.columns());
        }
        matches.extend(sources.iter().map(|s| (quoted(&s.name), "table")));
        if sources.is_empty() {
            matches.extend(columns_of_all(catalog));
            matches.extend(tables(catalog, sql));
        }
        let functions = session::function_names().into_iter();
        matches.extend(functions.map(|name| (format!("{name}("), "function")));
        let shouted = prefix.chars().next().is_some_and(char::is_uppercase);
        let keyword = |word: &&str| {
            if shouted {
                (*word).to_owned()
            } else {
                word.to_lowercase()
            }
        };
        matches.extend(KEYWORDS.iter().map(|word| (keyword(word), "keyword")));
    }
    let begins = |text: &str| {
        let text = text.trim_start_matches('"').to_lowercase();
        text.starts_with(&prefix.to_lowercase())
    };
    // `n_g` is the beginning of `cells.n_genes` too.
    let fits = |text: &str| begins(text) || text.split_once('.').is_some_and(|(_, c)| begins(c));
    // What is being typed may look like the alias of a table.
    matches.retain(|(text, kind)| fits(text) && (*kind != "table" || text != prefix));
    let mut seen = std::collections::BTreeSet::new();
    matches.retain(|(text, _)| seen.insert(text.clone()));
    Ok(Completion { start, matches })
}

/// A table of the statement, under the name that it has there.
pub(crate) struct Source {
    pub(crate) name: String,
    /// As it is written after FROM.
    pub(crate) written: String,
    pub(crate) fields: Vec<Field>,
}

impl Source {
    fn columns(&self) -> impl Iterator<Item = (String, &'static str)> + '_ {
        self.fields.iter().map(|f| (quoted(f.name()), "column"))
    }
}

/// A name as it can be written.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

pub(crate) fn floor(sql: &str, cursor: usize) -> usize {
    (0..=cursor.min(sql.len()))
        .rev()
        .find(|at| sql.is_char_boundary(*at))
        .unwrap_or(0)
}

pub(crate) fn last_word(text: &str) -> String {
    let text = text.trim_end().trim_end_matches('"');
    let word = text
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
        .next();
    word.unwrap_or_default().to_owned()
}

/// Words and signs of `sql`, as far as it can be taken apart.
fn words(sql: &str) -> Vec<Token> {
    let mut tokens = vec![];
    // An open quote at the end is an error, and what comes before it is told.
    let _ = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location_into_buf(&mut tokens);
    tokens
        .into_iter()
        .map(|token| token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect()
}

/// The tables after FROM and JOIN.
pub(crate) fn sources(sql: &str, catalog: &Catalog) -> Vec<Source> {
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
            let asked: Vec<&str> = parts.iter().map(String::as_str).collect();
            if let Ok((resolved, named)) = catalog.resolve(&asked) {
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

pub(crate) fn fields(named: &Named<'_>) -> Vec<Field> {
    named
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect()
}

/// Before FROM is written: the columns of the dataset whose tables need no
/// prefix, or those of all tables, each with its table.
fn columns_of_all(catalog: &Catalog) -> Vec<(String, &'static str)> {
    let mut found = vec![];
    let metadata = |table: &&Table| ["cells", "genes", "expression"].contains(&&*table.name);
    for (at, handle) in catalog.handles.iter().enumerate() {
        for table in handle.dataset.tables().filter(metadata) {
            for field in table.schema.fields() {
                let column = quoted(field.name());
                if catalog.default == Some(at) {
                    found.push((column, "column"));
                } else if catalog.default.is_none() {
                    found.push((format!("{}.{column}", table.name), "column"));
                }
            }
        }
    }
    for frame in &catalog.frames {
        let columns = frame.schema.fields().iter();
        let table = quoted(&frame.name);
        found.extend(columns.map(|f| (format!("{table}.{}", quoted(f.name())), "column")));
    }
    found
}

fn tables(catalog: &Catalog, sql: &str) -> Vec<(String, &'static str)> {
    let mut found: Vec<(String, &'static str)> = vec![];
    if let Some(handle) = catalog.default_handle() {
        found.extend(handle.dataset.tables().map(|t| (t.name.clone(), "table")));
    }
    found.extend(catalog.frames.iter().map(|f| (quoted(&f.name), "frame")));
    found.extend(catalog.views.iter().map(|(name, _)| (quoted(name), "view")));
    found.extend(
        catalog
            .handles
            .iter()
            .map(|h| (format!("{}.", h.name), "dataset")),
    );
    // WITH name AS (
    let tokens = words(sql);
    for window in tokens.windows(3) {
        if let [Token::Word(name), Token::Word(r#as), Token::LParen] = window
            && r#as.keyword == Keyword::AS
        {
            found.push((name.value.clone(), "common table expression"));
        }
    }
    let functions = ["knn(", "normalized(", "pseudobulk(", "read('", "sample("];
    found.extend(functions.map(|name| (name.to_owned(), "table function")));
    found
}

/// The columns of the tables of that name in all datasets.
fn columns_called(catalog: &Catalog, table: &str) -> Vec<(String, &'static str)> {
    let handles = catalog.handles.iter();
    let tables = handles.flat_map(|handle| handle.dataset.tables());
    let called = tables.filter(|found| found.name.eq_ignore_ascii_case(table));
    let fields = called.flat_map(|found| found.schema.fields());
    fields.map(|f| (quoted(f.name()), "column")).collect()
}

fn tables_of(catalog: &Catalog, handle: &str) -> Vec<(String, &'static str)> {
    let handle = catalog.handles.iter().find(|h| h.name == handle);
    let tables = handle
        .into_iter()
        .flat_map(|handle| handle.dataset.tables());
    tables.map(|table| (table.name.clone(), "table")).collect()
}

/// Where the text begins that is still open at the end.
fn open_quote(before: &str) -> Option<usize> {
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

/// The values of the column that a text is compared with.
async fn values(
    catalog: &Catalog,
    sources: &[Source],
    before: &str,
    open: usize,
) -> Result<Completion> {
    let (start, prefix) = (open + 1, &before[open + 1..]);
    let none = Completion {
        start,
        matches: vec![],
    };
    let tokens = words(&before[..open]);
    let column = tokens.iter().rev().find_map(|token| match token {
        Token::Word(word)
            if word.keyword == Keyword::NoKeyword
                || sources
                    .iter()
                    .any(|s| s.fields.iter().any(|f| f.name() == &word.value)) =>
        {
            Some(word.value.clone())
        }
        _ => None,
    });
    let Some(column) = column else {
        return Ok(none);
    };
    let of = sources.iter().find_map(|source| {
        let field = source
            .fields
            .iter()
            .find(|f| f.name().eq_ignore_ascii_case(&column))?;
        Some((source, field))
    });
    let Some((source, field)) = of else {
        return Ok(none);
    };
    if !matches!(
        field.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
    ) {
        return Ok(none);
    }
    let column = quoted(field.name());
    let escaped = prefix.replace('\'', "''");
    let sql = format!(
        "SELECT CAST({column} AS VARCHAR) AS value, COUNT(*) AS n FROM {} \
         WHERE starts_with(LOWER(CAST({column} AS VARCHAR)), LOWER('{escaped}')) \
         GROUP BY 1 ORDER BY n DESC, value LIMIT {VALUES}",
        source.written
    );
    let answer = run(catalog, &sql, &Params::new(), &quiet()).await?;
    let mut matches = vec![];
    for batch in &answer.batches {
        let column = cast(batch.column(0), &DataType::Utf8)?;
        let texts = column.as_string::<i32>();
        let texts = texts.iter().flatten();
        matches.extend(texts.map(|text| (format!("{}'", text.replace('\'', "''")), "value")));
    }
    Ok(Completion { start, matches })
}

pub(crate) fn quiet() -> Options {
    Options {
        engine: Some(Engine::DataFusion),
        ..Options::default()
    }
}
