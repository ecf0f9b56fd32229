//! What `config.json` and the metadata tables say of the rows that were written.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use futures::{Stream, stream};
use serde_json::{Map, Value, json};

use crate::write::encode::EXPRESSION;
use crate::write::store::bad;
use crate::write::tally::Tally;
use crate::{Error, Result};

/// What slafdb needs to open a dataset of `shape`.
pub(super) fn config(tally: &Tally, shape: (u64, u64), stamp: &str) -> Map<String, Value> {
    let (cells, genes) = shape;
    object(json!({
        "format_version": "0.5",
        "array_shape": [cells, genes],
        "n_cells": cells,
        "n_genes": genes,
        "tables": {
            "expression": EXPRESSION,
            "cells": "cells.lance",
            "genes": "genes.lance",
        },
        "optimizations": { "use_integer_keys": true, "optimize_storage": true },
        "metadata": statistics(tally, shape),
        stamp: chrono::Utc::now().to_rfc3339(),
    }))
}

/// slafdb's `metadata`.
pub(super) fn statistics(tally: &Tally, (cells, genes): (u64, u64)) -> Value {
    let total = cells as f64 * genes as f64;
    let density = if total > 0.0 {
        tally.rows as f64 / total
    } else {
        0.0
    };
    json!({
        "expression_count": tally.rows,
        "sparsity": 1.0 - density,
        "density": density,
        "total_possible_elements": cells * genes,
        "expression_stats": tally.summary(),
    })
}

/// Our part of a configuration.
pub(crate) fn ours(config: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let ours = config.entry("slaf").or_insert(Value::Null);
    if !ours.is_object() {
        *ours = Value::Object(Map::new());
    }
    ours.as_object_mut().expect("it was just made one")
}

/// Later keys replace earlier ones, and null removes them. Only the table names
/// of both are kept.
pub(super) fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if key == "tables" => old.extend(new),
            (_, Value::Null) => drop(into.remove(&key)),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The rows of a metadata table as they arrive, with the numbers that the
/// format gives them.
pub(super) struct Numbered {
    rows: Box<dyn RecordBatchReader + Send>,
    schema: SchemaRef,
    starts: Option<Int64Array>,
    done: usize,
    /// How many there must be.
    total: usize,
}

impl Numbered {
    pub(super) fn new(rows: Box<dyn RecordBatchReader + Send>, id: &str, total: u64) -> Self {
        Self {
            schema: with_field(&rows.schema(), id),
            rows,
            starts: None,
            done: 0,
            total: total as usize,
        }
    }

    /// Also with the place of each cell's first value.
    pub(super) fn with_starts(mut self, starts: Int64Array) -> Self {
        self.schema = with_field(&self.schema, "cell_start_index");
        self.starts = Some(starts);
        self
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(super) fn stream(
        self,
    ) -> impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static {
        let wrapped = |error| DataFusionError::External(Box::new(error));
        stream::iter(self.map(move |batch| batch.map_err(wrapped)))
    }

    fn number(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (first, rows) = (self.done, batch.num_rows());
        self.done += rows;
        if self.done > self.total {
            return Err(self.wrong());
        }
        let mut columns = batch.columns().to_vec();
        let ids = first as i64..self.done as i64;
        columns.push(Arc::new(Int64Array::from_iter_values(ids)));
        if let Some(starts) = &self.starts {
            columns.push(Arc::new(starts.slice(first, rows)));
        }
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    fn wrong(&self) -> Error {
        let (done, total) = (self.done, self.total);
        bad(format!("{done} rows of metadata for {total} of X"))
    }
}

impl Iterator for Numbered {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Some(batch) => Some(batch.map_err(Error::from).and_then(|b| self.number(&b))),
            None if self.done < self.total => {
                let wrong = self.wrong();
                self.done = self.total;
                Some(Err(wrong))
            }
            None => None,
        }
    }
}

fn with_field(schema: &Schema, name: &str) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}
