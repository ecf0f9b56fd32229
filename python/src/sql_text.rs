//! Parses the text of SQL statements and cells, for Python.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use slaf_core::query::{self, Command, Engine, Taken};
use slaf_magics::Cell;

use crate::errors::to_python;
use crate::sql_params::{PyParam, params};

/// Splits a text into statements.
#[pyfunction]
pub(crate) fn split_sql(sql: &str) -> Vec<String> {
    query::split(sql)
}

/// The Python expressions in `{{…}}`, and whether each is a name.
#[pyfunction]
pub(crate) fn sql_holes(sql: &str) -> PyResult<Vec<(String, bool)>> {
    let holes = query::holes(sql).map_err(to_python)?;
    Ok(holes
        .into_iter()
        .map(|hole| (hole.expression, hole.is_name))
        .collect())
}

/// The statement with its holes filled by parameters `$_0`, `$_1`, … or by the
/// given names.
#[pyfunction]
pub(crate) fn fill_sql(sql: &str, names: Vec<Option<String>>) -> PyResult<String> {
    query::fill(sql, &names).map_err(to_python)
}

/// A parsed statement: its kind, and what it needs.
#[pyclass(frozen, get_all, module = "slaf._slaf")]
pub(crate) struct Statement {
    /// `ask`, `create_view`, `create_table` or `drop`.
    kind: &'static str,
    /// The name that is created or dropped.
    name: Option<String>,
    /// What to do if the name is taken, or does not exist: `refused`,
    /// `replaced` or `kept`.
    taken: &'static str,
    /// The query that gets the name.
    query: Option<String>,
    tables: Vec<String>,
    reads: Vec<String>,
    parameters: Vec<String>,
}

/// The query of a statement, with the values of its parameters.
#[pyfunction]
pub(crate) fn bound_sql(
    py: Python<'_>,
    sql: &str,
    values: HashMap<String, Option<PyParam>>,
) -> PyResult<Option<String>> {
    query::bound(sql, &params(py, values)?).map_err(to_python)
}

#[pyfunction]
pub(crate) fn parse_sql(sql: &str) -> PyResult<Statement> {
    let parsed = query::parse(sql).map_err(to_python)?;
    let query = parsed.query();
    let if_taken = |taken: Taken| match taken {
        Taken::Refused => "refused",
        Taken::Replaced => "replaced",
        Taken::Kept => "kept",
    };
    let (kind, name, taken) = match parsed.command {
        Command::CreateView(name, taken) => ("create_view", Some(name), if_taken(taken)),
        Command::CreateTable(name, taken) => ("create_table", Some(name), if_taken(taken)),
        Command::Drop(name, false) => ("drop", Some(name), "refused"),
        Command::Drop(name, true) => ("drop", Some(name), "kept"),
        Command::Ask
        | Command::Explain(_)
        | Command::Describe(_)
        | Command::Summarize
        | Command::ShowTables => ("ask", None, "refused"),
    };
    Ok(Statement {
        kind,
        name,
        taken,
        query,
        tables: parsed.tables,
        reads: parsed.reads,
        parameters: parsed.parameters,
    })
}

/// A parsed `%%sql` cell.
#[pyclass(frozen, get_all, module = "slaf._slaf")]
pub(crate) struct SqlCell {
    target: Option<String>,
    on: Option<String>,
    engine: Option<&'static str>,
    limit: Option<usize>,
    table: bool,
    lazy: bool,
    explain: bool,
    profile: bool,
    sql: String,
}

#[pyfunction]
pub(crate) fn parse_cell(line: &str, body: &str) -> PyResult<SqlCell> {
    let cell = Cell::parse(line, body).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(SqlCell {
        target: cell.target,
        on: cell.on,
        engine: cell.engine.map(Engine::name),
        limit: cell.limit,
        table: cell.table,
        lazy: cell.lazy,
        explain: cell.explain,
        profile: cell.profile,
        sql: cell.sql,
    })
}
