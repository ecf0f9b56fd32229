//! Completions at a position in a statement. Statements are usually unfinished at
//! that time, so they are examined word by word, without parsing.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::Token;

use super::words::{Source, floor, last_word, open_quote, quoted, sources, words};
use crate::query::catalog::Catalog;
use crate::query::dialect::session;
use crate::query::language::params::Params;
use crate::query::request::{Engine, Options};
use crate::query::run::run;
use crate::{Result, Table};

/// Maximum number of values of a column that are suggested.
const VALUES: usize = 100;

/// Suggestions that replace the text from byte `start` to the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    pub start: usize,
    /// Each suggestion and its kind, such as "column".
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

/// Words that come before a table.
const BEFORE_TABLES: [&str; 5] = ["from", "join", "describe", "summarize", "desc"];

/// Suggestions for byte `cursor` of `sql`.
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
        matches.extend(anything(catalog, sql, &sources, prefix));
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

/// Columns, tables, functions and keywords; keywords are in the case of `prefix`.
fn anything(
    catalog: &Catalog,
    sql: &str,
    sources: &[Source],
    prefix: &str,
) -> Vec<(String, &'static str)> {
    let mut matches: Vec<_> = sources.iter().flat_map(Source::columns).collect();
    matches.extend(sources.iter().map(|s| (quoted(&s.name), "table")));
    if sources.is_empty() {
        matches.extend(columns_of_all(catalog));
        matches.extend(tables(catalog, sql));
    }
    let functions = session::function_names().into_iter();
    matches.extend(functions.map(|name| (format!("{name}("), "function")));
    let shouted = prefix.chars().next().is_some_and(char::is_uppercase);
    let keyword = |word: &&str| match shouted {
        true => (*word).to_owned(),
        false => word.to_lowercase(),
    };
    matches.extend(KEYWORDS.iter().map(|word| (keyword(word), "keyword")));
    matches
}

/// If FROM is not written yet: the columns of the dataset whose tables need no prefix,
/// or the columns of all tables, each with its table.
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

/// The columns of all tables with that name, in all datasets.
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

/// Values of the column that is compared with a text.
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
