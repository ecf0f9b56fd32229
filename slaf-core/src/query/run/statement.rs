//! Runs one statement of any kind.

use super::explain::explain;
use super::prepare_query::prepare;
use super::show_and_describe;
use crate::query::catalog::Catalog;
use crate::query::language::error_place::place;
use crate::query::language::params::{self, Params};
use crate::query::language::parse::{Command, Parsed, parse};
use crate::query::request::{Answer, Options};
use crate::{Error, Result};

/// Runs one statement. An error shows the position of the name that caused it.
pub async fn run(
    catalog: &Catalog,
    sql: &str,
    params: &Params,
    options: &Options,
) -> Result<Answer> {
    let answered = run_at(catalog, sql, params, options).await;
    answered.map_err(|error| match &error {
        Error::Unknown { name, .. } => match place(sql, name) {
            Some(place) => Error::Placed {
                message: error.for_people(),
                place,
            },
            None => error,
        },
        _ => error,
    })
}

async fn run_at(
    catalog: &Catalog,
    sql: &str,
    params: &Params,
    options: &Options,
) -> Result<Answer> {
    let Parsed { command, query, .. } = parse(sql)?;
    match (command, query) {
        (Command::ShowTables, _) => show_and_describe::tables(catalog),
        (Command::Describe(name), _) => show_and_describe::describe(catalog, &name, options).await,
        (Command::Explain(analyze), Some(query)) => {
            let prepared = prepare(catalog, query, params, options).await?;
            explain(prepared, analyze, options).await
        }
        (Command::Summarize, Some(query)) => {
            show_and_describe::summarize(catalog, query, params, options).await
        }
        // For CREATE, the caller stores the answer under its name.
        (_, Some(query)) => {
            prepare(catalog, query, params, options)
                .await?
                .run(catalog, options)
                .await
        }
        (_, None) => Err(Error::Sql {
            message: "There is nothing to run.".into(),
            hint: None,
        }),
    }
}

/// The query of `sql`, with its parameters replaced by their values.
pub fn bound(sql: &str, params: &Params) -> Result<Option<String>> {
    let Some(mut query) = parse(sql)?.query else {
        return Ok(None);
    };
    params::bind(&mut query, params)?;
    Ok(Some(query.to_string()))
}
