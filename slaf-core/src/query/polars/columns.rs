//! Converts Arrow arrays to Polars columns.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema};
use polars::prelude::{Column, DataFrame};

use super::unsupported::{Lowered, refuse};
use crate::ground::arrow_polars;

/// Converts batches to one frame, with one chunk per batch.
pub(super) fn frame(schema: &Schema, batches: &[RecordBatch]) -> Lowered<DataFrame> {
    let empty = RecordBatch::new_empty(Arc::new(schema.clone()));
    let mut whole: Option<DataFrame> = None;
    for batch in batches.iter().chain(batches.is_empty().then_some(&empty)) {
        // Columns are named by their numbers, because two columns of an input can have
        // the same name.
        let columns = batch.columns().iter().enumerate();
        let columns = columns.map(|(at, array)| column(&at.to_string(), array));
        let columns = columns.collect::<Lowered<Vec<_>>>()?;
        let part = DataFrame::new(batch.num_rows(), columns).map_err(|e| e.to_string())?;
        match &mut whole {
            Some(whole) => {
                whole.vstack_mut(&part).map_err(|e| e.to_string())?;
            }
            None => whole = Some(part),
        }
    }
    whole.ok_or_else(|| "a leaf without a schema".to_owned())
}

/// A column that shares the buffers of an array.
pub(super) fn column(name: &str, array: &ArrayRef) -> Lowered<Column> {
    if !is_known(array.data_type()) {
        return refuse(format!("values of type {}", array.data_type()));
    }
    arrow_polars::plain_to_polars(name, array).map_err(|e| e.to_string())
}

/// Whether Polars was built with this type; it panics for others.
fn is_known(dtype: &DataType) -> bool {
    match dtype {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Date32
        | DataType::Timestamp(..) => true,
        DataType::Dictionary(_, of) => is_known(of),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            is_known(of.data_type())
        }
        _ => false,
    }
}
