//! Writes a dataset: rows of X stream in, encoding runs beside the reader, and
//! the whole appears under its name at once or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow::array::{UInt16Array, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, stream};
use lance::dataset::{InsertBuilder, WriteMode, WriteParams};
use lance_file::version::LanceFileVersion;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::runtime;
use crate::{Error, Result, ValueType, Values};

/// Rows of one fragment of `expression`: large enough that opening it costs
/// nothing beside reading it, small enough that slafdb's loader, which reads
/// fragments in parallel, has several.
const FRAGMENT_ROWS: usize = 16 << 20;
/// Blocks that may wait for the encoder; with it, the bound on memory.
const AHEAD: usize = 2;

/// Some consecutive rows of a CSR matrix.
pub struct RowBlock<'a> {
    /// Length rows + 1; differences count, the first entry may be any.
    pub indptr: &'a [i64],
    pub indices: &'a [i64],
    pub data: &'a Values,
}

/// A dataset under construction in a folder beside its target. Dropping it
/// unfinished removes the folder.
pub struct Writer {
    target: PathBuf,
    staging: PathBuf,
    overwrite: bool,
    shape: (u64, u64),
    value_type: ValueType,
    schema: SchemaRef,
    encoder: Option<Encoder>,
    starts: Vec<i64>,
    summary: Summary,
}

struct Encoder {
    blocks: mpsc::Sender<RecordBatch>,
    task: JoinHandle<Result<()>>,
}

impl Writer {
    /// Begins a dataset of `shape` (cells × genes) at `target`, whose values
    /// are stored as `value_type`: uint16, float32 or float64. What stands at
    /// `target` is replaced only with `overwrite`, and only by a whole dataset.
    pub fn create(
        target: &Path,
        shape: (u64, u64),
        value_type: ValueType,
        overwrite: bool,
    ) -> Result<Self> {
        if target.exists() && !overwrite {
            return Err(Error::Exists {
                path: target.to_owned(),
            });
        }
        if target.is_file() {
            return Err(Error::NotSlaf {
                path: target.display().to_string(),
                reason: "it is a file, and a dataset is a folder".into(),
            });
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let staging = target.with_file_name(format!(".{name}.partial-{}", std::process::id()));
        remove(&staging)?;
        fs::create_dir_all(&staging).map_err(|e| Error::io(&staging, e))?;
        let gene_type = if shape.1 <= 1 << 16 {
            DataType::UInt16
        } else {
            DataType::Int32
        };
        let schema = Arc::new(Schema::new(vec![
            Field::new("cell_integer_id", DataType::UInt32, false),
            Field::new("gene_integer_id", gene_type, false),
            Field::new("value", value_type.arrow(), false),
        ]));
        let encoder = Encoder::start(&staging.join("expression.lance"), &schema);
        Ok(Self {
            target: target.to_owned(),
            staging,
            overwrite,
            shape,
            value_type,
            schema,
            encoder: Some(encoder),
            starts: Vec::with_capacity(shape.0 as usize),
            summary: Summary::default(),
        })
    }

    /// The folder that becomes the dataset; companions may be put in it.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// Takes the next rows. Fails with [`Error::NotRepresentable`] on a value
    /// that the value type cannot hold; nothing of the writer is usable then.
    pub fn append(&mut self, block: &RowBlock<'_>) -> Result<()> {
        let batch = self.encode(block)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let Some(encoder) = &self.encoder else {
            return Err(Error::BadMatrix {
                reason: "the writer has failed before".into(),
            });
        };
        if encoder.blocks.blocking_send(batch).is_err() {
            return Err(self.failure());
        }
        Ok(())
    }

    fn encode(&mut self, block: &RowBlock<'_>) -> Result<RecordBatch> {
        let bad = |reason: String| Error::BadMatrix { reason };
        let (Some(&base), rows) = (block.indptr.first(), block.indptr.len().saturating_sub(1))
        else {
            return Err(bad("an empty indptr".into()));
        };
        let n = block.indices.len();
        if block.data.len() != n || block.indptr[rows] - base != n as i64 {
            return Err(bad(format!(
                "indptr counts {} values, with {n} indices and {} data",
                block.indptr[rows] - base,
                block.data.len()
            )));
        }
        let first_cell = self.starts.len() as u64;
        if first_cell + rows as u64 > self.shape.0 {
            return Err(bad(format!(
                "more than the {} cells announced",
                self.shape.0
            )));
        }
        let mut cells = Vec::with_capacity(n);
        for (row, pair) in block.indptr.windows(2).enumerate() {
            if pair[1] < pair[0] {
                return Err(bad(format!(
                    "indptr decreases at cell {}",
                    first_cell + row as u64
                )));
            }
            self.starts.push(self.summary.count as i64 + pair[0] - base);
            let cell = (first_cell + row as u64) as u32;
            cells.resize(cells.len() + (pair[1] - pair[0]) as usize, cell);
        }
        let genes = self.shape.1;
        if let Some(at) = block
            .indices
            .iter()
            .position(|g| !(0..genes as i64).contains(g))
        {
            return Err(bad(format!(
                "cell {} has a value for gene {} of {genes}",
                cells[at], block.indices[at]
            )));
        }
        let gene_ids: ArrayRef = if genes <= 1 << 16 {
            Arc::new(UInt16Array::from_iter_values(
                block.indices.iter().map(|g| *g as u16),
            ))
        } else {
            Arc::new(Int32Array::from_iter_values(
                block.indices.iter().map(|g| *g as i32),
            ))
        };
        let values =
            store(block.data, self.value_type).map_err(|(at, value)| Error::NotRepresentable {
                cell: u64::from(cells[at]),
                gene: block.indices[at] as u64,
                value,
                target: self.value_type.numpy_name(),
            })?;
        self.summary.add(block.data);
        let columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(cells)), gene_ids, values];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Writes the metadata and publishes the dataset. `cells` and `genes` are
    /// obs and var with `cell_id` and `gene_id`; `config` is merged into
    /// `config.json`.
    pub fn finish(
        mut self,
        cells: RecordBatch,
        genes: RecordBatch,
        config: Map<String, Value>,
    ) -> Result<()> {
        if self.starts.len() as u64 != self.shape.0 {
            return Err(Error::BadMatrix {
                reason: format!("{} of {} cells arrived", self.starts.len(), self.shape.0),
            });
        }
        if let Some(encoder) = self.encoder.take() {
            encoder.finish()?;
        }
        let cells = with_ids(cells, "cell_integer_id", self.shape.0)?;
        let starts = Arc::new(Int64Array::from(std::mem::take(&mut self.starts)));
        let cells = with_column(cells, "cell_start_index", starts)?;
        write_table(&self.staging.join("cells.lance"), cells)?;
        let genes = with_ids(genes, "gene_integer_id", self.shape.1)?;
        write_table(&self.staging.join("genes.lance"), genes)?;

        let text = serde_json::to_string_pretty(&self.config(config)).unwrap_or_default();
        let path = self.staging.join("config.json");
        fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
        self.publish()
    }

    /// The dataset that stood there before is moved aside first and removed
    /// last, so that the name always leads to a whole one or to none.
    fn publish(&mut self) -> Result<()> {
        let old = self.staging.with_extension("replaced");
        if self.target.exists() {
            if !self.overwrite {
                return Err(Error::Exists {
                    path: self.target.clone(),
                });
            }
            fs::rename(&self.target, &old).map_err(|e| Error::io(&self.target, e))?;
        }
        fs::rename(&self.staging, &self.target).map_err(|e| Error::io(&self.target, e))?;
        remove(&old)
    }

    fn config(&self, extra: Map<String, Value>) -> Value {
        let (cells, genes) = self.shape;
        let total = cells as f64 * genes as f64;
        let density = if total > 0.0 {
            self.summary.count as f64 / total
        } else {
            0.0
        };
        let mut config = json!({
            "format_version": "0.5",
            "array_shape": [cells, genes],
            "n_cells": cells,
            "n_genes": genes,
            "tables": {
                "expression": "expression.lance",
                "cells": "cells.lance",
                "genes": "genes.lance",
            },
            "optimizations": { "use_integer_keys": true, "optimize_storage": true },
            "metadata": {
                "expression_count": self.summary.count,
                "sparsity": 1.0 - density,
                "density": density,
                "total_possible_elements": cells * genes,
                "expression_stats": self.summary.as_json(),
            },
            "created_at": chrono::Utc::now().to_rfc3339(),
        });
        merge(&mut config, Value::Object(extra));
        config
    }

    /// Why the encoder stopped.
    fn failure(&mut self) -> Error {
        let stopped = self.encoder.take().map(Encoder::finish);
        match stopped {
            Some(Err(error)) => error,
            _ => Error::Engine {
                message: "The encoder stopped before the last row.".into(),
            },
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            encoder.task.abort();
        }
        let _ = remove(&self.staging);
    }
}

impl Encoder {
    fn start(path: &Path, schema: &SchemaRef) -> Self {
        let (blocks, queue) = mpsc::channel(AHEAD);
        let stream = stream::unfold(queue, |mut queue| async move {
            let batch = queue.recv().await?;
            Some((Ok(batch), queue))
        });
        let write = write_stream(path.to_owned(), Arc::clone(schema), stream, FRAGMENT_ROWS);
        Self {
            blocks,
            task: runtime::spawn(write),
        }
    }

    fn finish(self) -> Result<()> {
        drop(self.blocks);
        runtime::wait(
            async { self.task.await.unwrap_or(Err(Error::Interrupted)) },
            || false,
        )
    }
}

/// Writes one batch as a Lance table at `path`.
pub fn write_table(path: &Path, batch: RecordBatch) -> Result<()> {
    let schema = batch.schema();
    let stream = stream::iter([Ok(batch)]);
    runtime::wait(
        write_stream(path.to_owned(), schema, stream, FRAGMENT_ROWS),
        || false,
    )
}

async fn write_stream(
    path: PathBuf,
    schema: SchemaRef,
    batches: impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static,
    rows: usize,
) -> Result<()> {
    let params = WriteParams {
        mode: WriteMode::Create,
        max_rows_per_file: rows,
        data_storage_version: Some(LanceFileVersion::V2_2),
        enable_v2_manifest_paths: true,
        ..WriteParams::default()
    };
    let stream: SendableRecordBatchStream =
        Box::pin(RecordBatchStreamAdapter::new(schema, batches));
    InsertBuilder::new(path.to_string_lossy().as_ref())
        .with_params(&params)
        .execute_stream(stream)
        .await
        .map_err(|e| Error::Engine {
            message: format!(
                "Writing `{}` failed: {}.",
                path.display(),
                crate::error::first_line(&e.to_string())
            ),
        })?;
    Ok(())
}

/// The values in the stored type, or the place and text of the first that it
/// cannot hold.
fn store(data: &Values, target: ValueType) -> Result<ArrayRef, (usize, String)> {
    fn all<T: Copy + ToString, U>(
        data: &[T],
        convert: impl Fn(T) -> Option<U>,
    ) -> Result<Vec<U>, (usize, String)> {
        let mut out = Vec::with_capacity(data.len());
        for (at, value) in data.iter().enumerate() {
            out.push(convert(*value).ok_or_else(|| (at, value.to_string()))?);
        }
        Ok(out)
    }
    macro_rules! to {
        ($array:ident, $target:ty) => {
            match data {
                Values::U16(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as u16, x as $target)
                }),
                Values::I32(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as i32, x as $target)
                }),
                Values::I64(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as i64, x as $target)
                }),
                Values::F32(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as f32, x as $target)
                }),
                Values::F64(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as f64, x as $target)
                }),
            }
            .map(|v| Arc::new($array::from(v)) as ArrayRef)
        };
    }
    match target {
        ValueType::U16 => to!(UInt16Array, u16),
        ValueType::F32 => to!(Float32Array, f32),
        _ => to!(Float64Array, f64),
    }
}

/// `converted`, if going there and back changes nothing. A NaN stays a NaN
/// where the target has one.
fn exact<T: PartialEq + Copy, U: PartialEq + Copy>(value: T, back: T, converted: U) -> Option<U> {
    #[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
    let (was_nan, is_nan) = (value != value, converted != converted);
    (value == back || (was_nan && is_nan)).then_some(converted)
}

/// Of the stored values, as slafdb's `config.json` reports them.
#[derive(Debug, Default)]
struct Summary {
    count: u64,
    sum: f64,
    squares: f64,
    range: Option<(f64, f64)>,
}

impl Summary {
    fn add(&mut self, data: &Values) {
        crate::values::typed!(data, v => for value in v {
            let value = *value as f64;
            self.sum += value;
            self.squares += value * value;
            let (low, high) = self.range.unwrap_or((value, value));
            self.range = Some((low.min(value), high.max(value)));
        });
        self.count += data.len() as u64;
    }

    fn as_json(&self) -> Value {
        let n = self.count.max(1) as f64;
        let mean = self.sum / n;
        let (low, high) = self.range.unwrap_or_default();
        json!({
            "min_value": low,
            "max_value": high,
            "mean_value": mean,
            "std_value": (self.squares / n - mean * mean).max(0.0).sqrt(),
        })
    }
}

fn with_ids(batch: RecordBatch, name: &str, rows: u64) -> Result<RecordBatch> {
    if batch.num_rows() as u64 != rows {
        return Err(Error::BadMatrix {
            reason: format!("{} rows of metadata for {rows} of X", batch.num_rows()),
        });
    }
    with_column(
        batch,
        name,
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
    )
}

fn with_column(batch: RecordBatch, name: &str, column: ArrayRef) -> Result<RecordBatch> {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(
        name,
        column.data_type().clone(),
        false,
    )));
    let mut columns = batch.columns().to_vec();
    columns.push(column);
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// Objects are merged key by key, anything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, e)),
        _ => Ok(()),
    }
}
