//! EXPLAIN: the engine and the reason for it, what will be read, and the plan; with
//! ANALYZE, what was read.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::prepare_query::Prepared;
use crate::ground::number_format::grouped;
use crate::query::datafusion::Running;
use crate::query::request::{Answer, Engine, Options};
use crate::query::sources::planned_reads::reads;
use crate::{Error, Result};

pub(crate) async fn explain(
    prepared: Prepared,
    analyze: bool,
    options: &Options,
) -> Result<Answer> {
    let engine = prepared.engine();
    let Prepared {
        planned,
        leaves,
        reason,
        warnings,
        statement: _,
    } = prepared;
    let mut lines = vec![format!("engine: {} ({reason})", engine.name())];
    let begun = Instant::now();
    let (rows, described) = match leaves {
        Some(leaves) => {
            lines.extend(reads(leaves.scans()).await?);
            let rows = match analyze {
                true => {
                    let answered = leaves.run(&planned, options.memory).await?;
                    Some(answered.map_err(engine_failed)?.1)
                }
                false => None,
            };
            (rows, leaves.described().map_err(engine_failed)?)
        }
        None => {
            let running = Running::of(planned).await?;
            lines.extend(reads(std::iter::once(running.operators())).await?);
            let rows = match analyze {
                true => Some(running.run(options.memory).await?.1),
                false => None,
            };
            (rows, running.describe(analyze))
        }
    };
    if let Some(batches) = rows {
        let (read, _) = options.reading.rows();
        lines.extend(measured(&batches, read, begun));
    }
    lines.extend(described.lines().map(str::to_owned));
    let schema = Arc::new(Schema::new(vec![Field::new("plan", DataType::Utf8, false)]));
    let column = Arc::new(StringArray::from(lines));
    Ok(Answer {
        batches: vec![RecordBatch::try_new(Arc::clone(&schema), vec![column])?],
        schema,
        engine: Engine::DataFusion,
        reason,
        warnings,
    })
}

fn measured(batches: &[RecordBatch], read: u64, begun: Instant) -> [String; 2] {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    [
        format!("read: {} rows of expression", grouped(read)),
        format!(
            "answered: {} rows in {}",
            grouped(rows as u64),
            since(begun)
        ),
    ]
}

fn engine_failed(message: String) -> Error {
    Error::Engine { message }
}

fn since(begun: Instant) -> String {
    format!("{:.1} ms", begun.elapsed().as_secs_f64() * 1e3)
}
