//! Text to one statement, and the parser's complaints to something that shows
//! the place.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, Statement, Visit, Visitor, visit_relations};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};

use crate::{Error, Result};

/// The only statement of `sql`; one that reads.
pub(crate) fn statement(sql: &str) -> Result<Statement> {
    let mut statements =
        Parser::parse_sql(&GenericDialect {}, sql).map_err(|e| explain(sql, &e))?;
    let statement = statements.pop().ok_or_else(|| Error::Sql {
        message: "There is no statement.".into(),
        hint: Some("Write one, such as `SELECT * FROM cells LIMIT 5`.".into()),
    })?;
    if !statements.is_empty() {
        return Err(Error::Sql {
            message: format!(
                "{} statements where one is run at a time.",
                statements.len() + 1
            ),
            hint: Some("Put each in a cell of its own.".into()),
        });
    }
    match &statement {
        Statement::Query(_)
        | Statement::Explain { .. }
        | Statement::ExplainTable { .. }
        | Statement::ShowTables { .. } => Ok(statement),
        other => {
            let words: Vec<_> = other
                .to_string()
                .split_whitespace()
                .take(2)
                .map(str::to_owned)
                .collect();
            Err(Error::Sql {
                message: format!(
                    "`{}` is not a question; datasets are only read here.",
                    words.join(" ")
                ),
                hint: Some("SELECT, WITH, EXPLAIN, DESCRIBE and SHOW TABLES run.".into()),
            })
        }
    }
}

/// Names in FROM clauses that are not common table expressions: what a session
/// has to provide. Empty if the text does not parse.
pub fn table_names(sql: &str) -> Vec<String> {
    let Ok(statement) = statement(sql) else {
        return vec![];
    };
    let ctes = cte_names(&statement);
    let mut names = BTreeSet::new();
    let _: ControlFlow<()> = visit_relations(&statement, |name| {
        let text = parts(name).join(".");
        if !ctes.contains(&text) {
            names.insert(text);
        }
        ControlFlow::Continue(())
    });
    names.into_iter().collect()
}

pub(crate) fn parts(name: &ObjectName) -> Vec<&str> {
    name.0
        .iter()
        .filter_map(|part| Some(part.as_ident()?.value.as_str()))
        .collect()
}

/// The names of all common table expressions, at any depth.
pub(crate) fn cte_names(statement: &Statement) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(ctes.map(|cte| cte.alias.name.value.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let _ = statement.visit(&mut names);
    names.0
}

/// The parser's message with the line it means and a caret under the column.
fn explain(sql: &str, error: &ParserError) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => "The statement is nested too deeply".into(),
    };
    let (message, place) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => (message.to_owned(), place.split_once(", Column: ")),
        None => (text.clone(), None),
    };
    let message = message.replace("found: EOF", "found the end of the statement");
    let place = place.and_then(|(line, column)| {
        let (line, column): (usize, usize) = (line.parse().ok()?, column.trim().parse().ok()?);
        let source = sql.lines().nth(line.checked_sub(1)?)?;
        let indent = " ".repeat(column.saturating_sub(1));
        Some(format!(
            " (line {line}, column {column})\n  {source}\n  {indent}^"
        ))
    });
    Error::Sql {
        message: format!("{message}{}", place.unwrap_or_else(|| ".".into())),
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_statement_shows_where_it_ends() {
        let error = statement("SELECT cell_id\nFROM cells WHERE").unwrap_err();
        assert_eq!(
            error.to_string(),
            "SQL: Expected: an expression, found the end of the statement."
        );
        let error = statement("SELECT (1\nFROM cells").unwrap_err();
        assert_eq!(
            error.to_string(),
            "SQL: Expected: ), found: FROM (line 2, column 1)\n  FROM cells\n  ^"
        );
    }

    #[test]
    fn what_would_change_data_is_refused_by_name() {
        let error = statement("DROP TABLE cells").unwrap_err();
        assert_eq!(
            error.for_people(),
            "SQL: `DROP TABLE` is not a question; datasets are only read here. \
             SELECT, WITH, EXPLAIN, DESCRIBE and SHOW TABLES run."
        );
    }

    #[test]
    fn names_of_common_table_expressions_are_not_asked_of_the_session() {
        let sql = "WITH c AS (SELECT * FROM pbmc.cells) SELECT * FROM c JOIN markers m ON true";
        assert_eq!(table_names(sql), ["markers", "pbmc.cells"]);
    }
}
