//! Converts types of the plan to Polars.

use datafusion::arrow::datatypes::DataType;
use polars::prelude::DataType as PlDataType;

use super::unsupported::{Lowered, refuse};

/// The Polars type of an Arrow type.
pub(super) fn dtype(dtype: &DataType) -> Lowered<PlDataType> {
    Ok(match plain(dtype) {
        DataType::Null => PlDataType::Null,
        DataType::Boolean => PlDataType::Boolean,
        DataType::Int8 => PlDataType::Int8,
        DataType::Int16 => PlDataType::Int16,
        DataType::Int32 => PlDataType::Int32,
        DataType::Int64 => PlDataType::Int64,
        DataType::UInt8 => PlDataType::UInt8,
        DataType::UInt16 => PlDataType::UInt16,
        DataType::UInt32 => PlDataType::UInt32,
        DataType::UInt64 => PlDataType::UInt64,
        DataType::Float32 => PlDataType::Float32,
        DataType::Float64 => PlDataType::Float64,
        DataType::Utf8 => PlDataType::String,
        DataType::Date32 => PlDataType::Date,
        other => return refuse(format!("values of type {other}")),
    })
}

pub(super) fn is_float(dtype: &DataType) -> bool {
    matches!(dtype, DataType::Float32 | DataType::Float64)
}

/// One Arrow type for all types of text.
pub(super) fn plain(dtype: &DataType) -> DataType {
    match dtype {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) => plain(values),
        other => other.clone(),
    }
}
