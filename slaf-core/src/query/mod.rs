//! SQL over datasets, through one front door:
//!
//! ```text
//! language     text → statement: parse, bind names and values, write out
//!    ↓
//! datafusion   statement → plan: names, types, what is pushed down
//!    ↓
//! polars       plan → LazyFrame, if every node of it means the same there;
//! datafusion   plan → operators, of all others
//!    ↓
//! sources      the rows that both begin with
//! ```
//!
//! No engine sees the text. Meaning is DuckDB's where the two differ from it: `/`
//! divides to a float, NULLs sort last, arithmetic on small integers does not wrap.
//! Where a predicate turns into ranges of rows: [`sources::path`].

mod datafusion;
mod explain;
mod language;
mod polars;
mod sources;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use sqlparser::ast::Statement;

use self::datafusion::plan::{self, Planned};
use self::language::{bind, introspect, params, parse as parsing, rewrite, using};
use self::polars::Leaves;
use crate::{Error, Result};

pub use self::language::complete::{Completion, complete};
pub use self::language::inspect::inspect;
pub use self::language::params::{FEW, Param, Params};
pub use self::language::parse::{Command, Parsed, Taken, parse, split};
pub use self::language::template::{Hole, fill, holes};
pub use self::sources::catalog::{Catalog, Handle};
pub use self::sources::frame::{Frame, Open, Rows};
pub use self::sources::reading::Reading;
pub use self::sources::told::{Told, Value};

/// What a statement answered, and how.
#[derive(Debug, Clone)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub engine: Engine,
    /// Why this engine ran it.
    pub reason: String,
    /// What was taken in a way that its author may not have meant.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Polars,
    DataFusion,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Polars => "polars",
            Self::DataFusion => "datafusion",
        }
    }
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// How a statement is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Forces an engine; otherwise the quicker of those that are right runs.
    pub engine: Option<Engine>,
    /// Bytes that may be taken before the engine spills to disk, about.
    pub memory: usize,
    /// Rows that are wanted at most.
    pub limit: Option<usize>,
    /// Tells others how far it is.
    pub reading: Arc<Reading>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: None,
            memory: quarter(),
            limit: None,
            reading: Arc::default(),
        }
    }
}

/// A quarter of the machine's memory, or 1 GiB if it does not tell.
fn quarter() -> usize {
    let told = std::fs::read_to_string("/proc/meminfo").ok();
    let total = told.as_deref().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    total.map_or(1 << 30, |kibibytes| kibibytes * 1024 / 4)
}

/// Runs one statement. A failure shows the place of the name that it is about.
pub async fn run(
    catalog: &Catalog,
    sql: &str,
    params: &Params,
    options: &Options,
) -> Result<Answer> {
    let answered = run_at(catalog, sql, params, options).await;
    answered.map_err(|error| match &error {
        Error::Unknown { name, .. } => match parsing::place(sql, name) {
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
        (Command::ShowTables, _) => introspect::tables(catalog),
        (Command::Describe(name), _) => introspect::describe(catalog, &name, options).await,
        (Command::Explain(analyze), Some(query)) => {
            let prepared = prepare(catalog, query, params, options).await?;
            explain::explain(prepared, analyze, options).await
        }
        (Command::Summarize, Some(query)) => {
            introspect::summarize(catalog, query, params, options).await
        }
        // A name for the answer is given by who asks.
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

/// The query of `sql` with its parameters written out.
pub fn bound(sql: &str, params: &Params) -> Result<Option<String>> {
    let Some(mut query) = parse(sql)?.query else {
        return Ok(None);
    };
    params::bind(&mut query, params)?;
    Ok(Some(query.to_string()))
}

/// A query that is ready to run.
struct Prepared {
    planned: Planned,
    /// What Polars reads to run it; none: DataFusion runs it.
    leaves: Option<Leaves>,
    reason: String,
    warnings: Vec<String>,
    /// To be planned anew with other joins.
    statement: Statement,
}

async fn prepare(
    catalog: &Catalog,
    mut statement: Statement,
    params: &Params,
    options: &Options,
) -> Result<Prepared> {
    params::bind(&mut statement, params)?;
    let warnings = bind::names(&mut statement, catalog)?;
    using::write_out(&mut statement, catalog)?;
    rewrite::for_datafusion(&mut statement)?;
    let planned = plan::plan(catalog, statement.clone(), options, false).await?;
    let lowered = match options.engine {
        Some(Engine::DataFusion) => Err("asked for".to_owned()),
        _ => planned.leaves().await,
    };
    let (leaves, reason) = match (lowered, options.engine) {
        (Ok(leaves), Some(_)) => (Some(leaves), "asked for".to_owned()),
        (Ok(leaves), None) => match leaves.slower() {
            None => (Some(leaves), "it answers right".to_owned()),
            Some(reason) => (None, reason.to_owned()),
        },
        (Err(reason), Some(Engine::Polars)) => {
            return Err(Error::Sql {
                message: format!("Polars does not run this statement: {reason}."),
                hint: Some("Leave the engine to be chosen.".into()),
            });
        }
        (Err(reason), _) => (None, reason),
    };
    Ok(Prepared {
        planned,
        leaves,
        reason,
        warnings,
        statement,
    })
}

impl Prepared {
    fn engine(&self) -> Engine {
        match self.leaves {
            Some(_) => Engine::Polars,
            None => Engine::DataFusion,
        }
    }

    async fn run(self, catalog: &Catalog, options: &Options) -> Result<Answer> {
        let Self {
            planned,
            leaves,
            mut reason,
            warnings,
            statement,
        } = self;
        let mut found = None;
        if let Some(leaves) = leaves {
            match planned.run_in_polars(&leaves, options.memory).await? {
                Ok(answered) => found = Some(answered),
                // It says what is wrong, if something is.
                Err(failure) => reason = failure,
            }
        }
        let engine = match found {
            Some(_) => Engine::Polars,
            None => Engine::DataFusion,
        };
        let (schema, batches) = match found {
            Some(answered) => answered,
            None => match planned.in_datafusion().await?.run(options.memory).await {
                Err(Error::Memory { .. }) => {
                    let planned = plan::plan(catalog, statement, options, true).await?;
                    planned.in_datafusion().await?.run(options.memory).await?
                }
                answered => answered?,
            },
        };
        Ok(Answer {
            schema,
            batches,
            engine,
            reason,
            warnings,
        })
    }
}
