//! Parses SQL text into statements.

use std::ops::ControlFlow;

use sqlparser::ast::{
    CreateTable, CreateView, ObjectName, ObjectType, Select, SelectFlavor, SelectItem, Statement,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{TokenWithSpan, Tokenizer};

use super::error_place::explain;
use super::relations::{parts, reads, relations};
use super::{nesting_depth, params};
use crate::{Error, Result};

/// The kind of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A query.
    Ask,
    /// EXPLAIN; with `true`, EXPLAIN ANALYZE.
    Explain(bool),
    Describe(Vec<String>),
    Summarize,
    ShowTables,
    /// CREATE VIEW.
    CreateView(String, Taken),
    /// CREATE TABLE … AS.
    CreateTable(String, Taken),
    /// DROP; with `true`, IF EXISTS.
    Drop(String, bool),
}

/// What happens if the name is already taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Refused,
    Replaced,
    /// The old one is kept (IF NOT EXISTS).
    Kept,
}

fn taken(or_replace: bool, if_not_exists: bool) -> Taken {
    match (or_replace, if_not_exists) {
        (true, _) => Taken::Replaced,
        (false, true) => Taken::Kept,
        (false, false) => Taken::Refused,
    }
}

/// A parsed statement, and what a session needs to run it.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub command: Command,
    /// Tables that the session must provide: names in FROM clauses, without common
    /// table expressions.
    pub tables: Vec<String>,
    /// The arguments of `read('…')`.
    pub reads: Vec<String>,
    /// Names of parameters, without the dollar sign.
    pub parameters: Vec<String>,
    /// The query of the statement: of SELECT, EXPLAIN, SUMMARIZE or CREATE.
    pub(crate) query: Option<Statement>,
}

impl Parsed {
    /// The query, as text.
    pub fn query(&self) -> Option<String> {
        self.query.as_ref().map(Statement::to_string)
    }
}

/// Parses `sql`, which must be one statement. Fails with the position of a syntax
/// error.
pub fn parse(sql: &str) -> Result<Parsed> {
    if let Some(of) = summarized(sql) {
        let query = match one(&of) {
            Ok(query @ Statement::Query(_)) => query,
            _ => one(&format!("{}SELECT * FROM {of}", ""))?,
        };
        return Ok(parsed(Command::Summarize, Some(query)));
    }
    let statement = one(sql)?;
    let name = |name: &ObjectName| parts(name).join(".");
    Ok(match statement {
        Statement::Query(_) => parsed(Command::Ask, Some(statement)),
        Statement::Explain {
            statement, analyze, ..
        } => match *statement {
            query @ Statement::Query(_) => parsed(Command::Explain(analyze), Some(query)),
            other => return Err(refused(&other)),
        },
        Statement::ExplainTable { table_name, .. } => {
            let parts = parts(&table_name).into_iter().map(str::to_owned).collect();
            let mut found = parsed(Command::Describe(parts), None);
            found.tables = vec![name(&table_name)];
            found
        }
        Statement::ShowTables { .. } => parsed(Command::ShowTables, None),
        Statement::CreateView(CreateView {
            name: of,
            query,
            or_replace,
            if_not_exists,
            ..
        }) => {
            let command = Command::CreateView(name(&of), taken(or_replace, if_not_exists));
            parsed(command, Some(Statement::Query(query)))
        }
        Statement::CreateTable(CreateTable {
            name: of,
            query: Some(query),
            or_replace,
            if_not_exists,
            ..
        }) => {
            let command = Command::CreateTable(name(&of), taken(or_replace, if_not_exists));
            parsed(command, Some(Statement::Query(query)))
        }
        Statement::Drop {
            object_type: ObjectType::Table | ObjectType::View,
            if_exists,
            names,
            ..
        } if names.len() == 1 => parsed(Command::Drop(name(&names[0]), if_exists), None),
        other => return Err(refused(&other)),
    })
}

fn refused(statement: &Statement) -> Error {
    let text = statement.to_string();
    let words: Vec<_> = text.split_whitespace().take(2).collect();
    Error::Sql {
        message: format!(
            "`{}` does not run; SQL only reads datasets.",
            words.join(" ")
        ),
        hint: Some(
            "SELECT, WITH, EXPLAIN, DESCRIBE, SUMMARIZE, SHOW TABLES, CREATE VIEW and CREATE \
             TABLE … AS run."
                .into(),
        ),
    }
}

fn parsed(command: Command, query: Option<Statement>) -> Parsed {
    let tables = query.as_ref().map(relations).unwrap_or_default();
    Parsed {
        command,
        tables,
        reads: query.as_ref().map(reads).unwrap_or_default(),
        parameters: query.as_ref().map(params::names).unwrap_or_default(),
        query,
    }
}

/// The table or query of SUMMARIZE.
fn summarized(sql: &str) -> Option<String> {
    let trimmed = sql.trim_start();
    let (word, rest) = trimmed.split_at_checked("summarize".len())?;
    let spaced = rest.starts_with(|c: char| c.is_whitespace() || c == '(');
    (word.eq_ignore_ascii_case("summarize") && spaced).then(|| rest.trim().to_owned())
}

fn one(sql: &str) -> Result<Statement> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let tokens = tokens.map_err(|e| explain(sql, &e.into()))?;
    nesting_depth::with_room(tokens, |tokens| only(sql, tokens))
}

fn only(sql: &str, tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = Parser::new(&GenericDialect {})
        .with_recursion_limit(nesting_depth::DEEPEST)
        .with_tokens_with_locations(tokens);
    let parsed = parser.parse_statements();
    let mut statements = parsed.map_err(|e| explain(sql, &e))?;
    let mut statement = statements.pop().ok_or_else(|| Error::Sql {
        message: "There is no statement.".into(),
        hint: Some("Write one, such as `SELECT * FROM cells LIMIT 5`.".into()),
    })?;
    if !statements.is_empty() {
        return Err(Error::Sql {
            message: format!(
                "There are {} statements, and only one can be run at a time.",
                statements.len() + 1
            ),
            hint: Some("Run them one after the other.".into()),
        });
    }
    nesting_depth::settle(&mut statement)?;
    let _ = VisitMut::visit(&mut statement, &mut SelectAll);
    Ok(statement)
}

/// Rewrites `FROM t` to `SELECT * FROM t`.
struct SelectAll;

impl VisitorMut for SelectAll {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if select.flavor == SelectFlavor::FromFirstNoSelect {
            select.flavor = SelectFlavor::Standard;
            select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::ast::{Expr, Visit};

    use super::*;

    #[test]
    fn half_a_statement_shows_where_it_ends() {
        let error = parse("SELECT cell_id\nFROM cells WHERE").unwrap_err();
        assert_eq!(
            error.to_string(),
            "SQL: Expected: an expression, found the end of the statement."
        );
        let error = parse("SELECT (1\nFROM cells").unwrap_err();
        assert_eq!(
            error.to_string(),
            "SQL: Expected: ), found: FROM (line 2, column 1)\n  FROM cells\n  ^"
        );
    }

    #[test]
    fn what_would_change_data_is_refused_by_name() {
        let error = parse("INSERT INTO cells VALUES (1)").unwrap_err();
        assert!(
            error
                .for_people()
                .starts_with("SQL: `INSERT INTO` does not run; SQL only reads datasets.")
        );
    }

    #[test]
    fn names_of_common_table_expressions_are_not_asked_of_the_session() {
        let sql = "WITH c AS (SELECT * FROM pbmc.cells) SELECT * FROM c JOIN markers m ON true";
        assert_eq!(parse(sql).unwrap().tables, ["markers", "pbmc.cells"]);
    }

    #[test]
    fn what_a_statement_needs_is_told() {
        let sql = "CREATE OR REPLACE VIEW v AS SELECT $n FROM read('a.parquet'), cells";
        let found = parse(sql).unwrap();
        assert_eq!(
            found.command,
            Command::CreateView("v".into(), Taken::Replaced)
        );
        assert_eq!(found.reads, ["a.parquet"]);
        assert_eq!(found.parameters, ["n"]);
        assert!(found.tables.contains(&"cells".to_owned()));
        let found = parse("SUMMARIZE cells").unwrap();
        assert_eq!(found.query().as_deref(), Some("SELECT * FROM cells"));
    }

    fn depth(sql: &str) -> usize {
        struct Depth(usize, usize);
        impl sqlparser::ast::Visitor for Depth {
            type Break = ();
            fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
                self.0 += 1;
                self.1 = self.1.max(self.0);
                ControlFlow::Continue(())
            }
            fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
                self.0 -= 1;
                ControlFlow::Continue(())
            }
        }
        let Parsed { query, .. } = parse(sql).unwrap();
        let mut depth = Depth(0, 0);
        let _ = query.unwrap().visit(&mut depth);
        depth.1
    }

    #[test]
    fn a_chain_of_an_associative_operator_is_flat_and_in_its_order() {
        let chain = |op: &str, n: usize| {
            let terms: Vec<_> = (0..n).map(|i| format!("(a = {i})")).collect();
            format!("SELECT {}", terms.join(op))
        };
        assert!(depth(&chain(" OR ", 100_000)) < 25);
        assert!(depth(&chain(" AND ", 3_000)) < 20);
        let long = chain(" || ", 1_000);
        assert_eq!(parse(&long).unwrap().query().unwrap(), long);
        let union = vec!["SELECT 1"; 5_000].join(" UNION ALL ");
        assert_eq!(parse(&union).unwrap().query().unwrap(), union);
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        for sql in [
            format!("SELECT {}", vec!["1"; 500_000].join(" + ")),
            format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
            format!("SELECT {}TRUE", "NOT ".repeat(100_000)),
            format!("SELECT {}1", "- ".repeat(100_000)),
            format!("SELECT 1{}", "::INT".repeat(100_000)),
            format!("SELECT 1{}", " IS NULL".repeat(100_000)),
            format!("SELECT a{}", "[1]".repeat(200_000)),
            format!("SELECT {}1", "CASE WHEN ".repeat(100_000)),
            format!("SELECT {}1", "f(".repeat(100_000)),
            format!("SELECT {}1", "(SELECT ".repeat(100_000)),
            format!("SELECT * FROM {}t", "(".repeat(100_000)),
            format!("SELECT CAST(1 AS {}INT", "ARRAY<".repeat(100_000)),
            format!("SELECT CAST(1 AS {}INT", "ARRAY <".repeat(100_000)),
            format!("SELECT CAST(1 AS {}INT", "STRUCT<a ".repeat(100_000)),
            format!("SELECT 1::INT{}", "[]".repeat(100_000)),
            format!("SELECT {}1{}", "[".repeat(100_000), "]".repeat(100_000)),
            format!("SELECT {}1", "{'a': ".repeat(100_000)),
            format!("SELECT {}1", "INTERVAL ".repeat(100_000)),
            format!("SELECT {}", vec!["1"; 100_000].join(" EXCEPT SELECT ")),
            format!("{}SELECT 1", "WITH a AS (".repeat(100_000)),
            format!("{}SELECT 1", "EXPLAIN ".repeat(100_000)),
            format!("SELECT {}1{}", "(SELECT ".repeat(13), ")".repeat(13)),
            format!("SELECT 1 FROM t{}", ", u".repeat(100_000)),
            format!("SELECT 1 FROM t{}", " JOIN u ON 1 = 1".repeat(100_000)),
            "SELECT 1, ".repeat(3_000_000),
        ] {
            let Err(error) = parse(&sql) else {
                panic!("{} is taken", &sql[..30]);
            };
            let error = error.for_people();
            assert!(error.len() < 700, "{}: {error}", &sql[..30]);
        }
    }
}
