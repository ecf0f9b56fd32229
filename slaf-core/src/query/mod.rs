//! SQL over datasets, through one front door:
//! parse → bind names → choose an engine → run.
//!
//! No engine sees the text. Polars runs the statements that [`lower`] can
//! translate clause by clause into a `LazyFrame`; DataFusion runs the rest.
//! Meaning is DuckDB's where the two differ from it: `/` divides to a
//! float, NULLs sort last, arithmetic on small integers does not wrap.

mod accumulate;
mod arithmetic;
mod bind;
mod catalog;
mod counted;
mod dense;
mod dense_scan;
mod engine;
mod expression;
mod kept;
mod lower;
mod nulls;
mod parse;
mod reading;
mod resolve;
mod rewrite;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use catalog::{Catalog, Frame, Handle};
pub use parse::table_names;
pub use reading::Reading;

use crate::bridge::to_arrow;
use crate::{Error, Result};

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
    /// Tells others how far it is.
    pub reading: Arc<Reading>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: None,
            memory: 4 << 30,
            reading: Arc::default(),
        }
    }
}

/// Runs one statement.
pub async fn run(catalog: Catalog, sql: &str, options: &Options) -> Result<Answer> {
    let mut statement = parse::statement(sql)?;
    let warnings = bind::names(&mut statement, &catalog)?;
    let lowered = match options.engine {
        Some(Engine::DataFusion) => Err("asked for".to_owned()),
        _ => lower::to_polars(&statement, &catalog),
    };
    match lowered {
        Ok(frame) => {
            let frame = tokio::task::spawn_blocking(move || frame.collect())
                .await
                .map_err(|failure| Error::Engine {
                    message: format!("Polars stopped unexpectedly: {failure}."),
                })??;
            let batch = to_arrow(frame)?;
            Ok(Answer {
                schema: batch.schema(),
                batches: vec![batch],
                engine: Engine::Polars,
                reason: "a plain question to one metadata table".into(),
                warnings,
            })
        }
        Err(reason) if options.engine == Some(Engine::Polars) => Err(Error::Sql {
            message: format!("Polars does not run this statement: {reason}."),
            hint: Some("Leave the engine to be chosen.".into()),
        }),
        Err(reason) => {
            rewrite::for_datafusion(&mut statement)?;
            let memory = options.memory;
            let planned = engine::plan(&catalog, statement, memory, &options.reading).await?;
            let (schema, batches) = planned.run(memory).await?;
            Ok(Answer {
                schema,
                batches,
                engine: Engine::DataFusion,
                reason,
                warnings,
            })
        }
    }
}
