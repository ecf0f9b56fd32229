//! What `config.json` and the metadata tables say of the rows that were written.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use serde_json::{Map, Value, json};

use crate::Result;
use crate::write::encode::EXPRESSION;
use crate::write::store::bad;
use crate::write::tally::Tally;

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

/// `batch` with the numbers of its rows, of which there must be `rows`.
pub(super) fn with_ids(batch: RecordBatch, name: &str, rows: u64) -> Result<RecordBatch> {
    if batch.num_rows() as u64 != rows {
        return Err(bad(format!(
            "{} rows of metadata for {rows} of X",
            batch.num_rows()
        )));
    }
    with_column(
        batch,
        name,
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
    )
}

pub(super) fn with_column(batch: RecordBatch, name: &str, column: ArrayRef) -> Result<RecordBatch> {
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
