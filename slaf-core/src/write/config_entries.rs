//! The entries of `config.json` about the rows that were written.

use serde_json::{Map, Value, json};

use super::encoder::EXPRESSION;
use super::expression_stats::ExpressionStats;

/// The entries that slafdb needs to open a dataset of `shape`.
pub(crate) fn new_config(
    stats: &ExpressionStats,
    shape: (u64, u64),
    stamp: &str,
) -> Map<String, Value> {
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
        "metadata": statistics(stats, shape),
        stamp: chrono::Utc::now().to_rfc3339(),
    }))
}

/// slafdb's `metadata`.
pub(crate) fn statistics(stats: &ExpressionStats, (cells, genes): (u64, u64)) -> Value {
    let total = cells as f64 * genes as f64;
    let density = if total > 0.0 {
        stats.rows as f64 / total
    } else {
        0.0
    };
    json!({
        "expression_count": stats.rows,
        "sparsity": 1.0 - density,
        "density": density,
        "total_possible_elements": cells * genes,
        "expression_stats": stats.summary(),
    })
}

/// Merges two configurations. Later keys replace earlier ones, and null removes
/// them. The table names of both are kept.
pub(crate) fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
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
