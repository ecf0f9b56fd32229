//! EXPLAIN: which engine and why, what will be read, and the plan; with ANALYZE
//! what was read.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::{Answer, Engine, How, Options, Prepared};
use crate::{Error, Result};

pub(crate) async fn explain(
    prepared: Prepared,
    analyze: bool,
    options: &Options,
) -> Result<Answer> {
    let (engine, reason, warnings) = (
        prepared.engine(),
        prepared.reason.clone(),
        prepared.warnings.clone(),
    );
    let mut lines = vec![format!("engine: {} ({reason})", engine.name())];
    match prepared.how {
        How::Polars(frame) => {
            if analyze {
                let begun = Instant::now();
                let frame = frame.clone();
                let rows = tokio::task::spawn_blocking(move || frame.collect()).await;
                let rows = rows
                    .map_err(|e| Error::Engine {
                        message: e.to_string(),
                    })??
                    .height();
                lines.push(format!(
                    "answered: {} rows in {}",
                    grouped(rows as u64),
                    since(begun)
                ));
            }
            lines.extend(frame.explain(true)?.lines().map(str::to_owned));
        }
        How::DataFusion(planned, _) => {
            lines.extend(planned.reads().await?);
            if analyze {
                let begun = Instant::now();
                let (_, batches) = planned.run(options.memory).await?;
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                let (read, _) = options.reading.rows();
                lines.push(format!("read: {} rows of expression", grouped(read)));
                lines.push(format!(
                    "answered: {} rows in {}",
                    grouped(rows as u64),
                    since(begun)
                ));
            }
            lines.extend(planned.describe(analyze).lines().map(str::to_owned));
        }
    }
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

fn since(begun: Instant) -> String {
    format!("{:.1} ms", begun.elapsed().as_secs_f64() * 1e3)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut out = digits[..first].to_owned();
    for at in (first..digits.len()).step_by(3) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&digits[at..at + 3]);
    }
    out
}
