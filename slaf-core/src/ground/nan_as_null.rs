//! Reads missing numbers of cells and genes as NULL: pandas and slafdb store them
//! as NaN.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Schema, SchemaRef,
};

use crate::Result;

/// The schema of such a table: any float can be missing.
pub(crate) fn of_schema(stored: &Schema) -> SchemaRef {
    let fields = stored.fields().iter().map(|field| match is_float(field) {
        true => Arc::new(field.as_ref().clone().with_nullable(true)),
        false => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The rows with NULL for NaN.
pub(crate) fn of_rows(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Float32 => of_floats::<Float32Type>(column, |x| x.is_nan()),
            DataType::Float64 => of_floats::<Float64Type>(column, |x| x.is_nan()),
            _ => Arc::clone(column),
        });
    let schema = of_schema(&batch.schema());
    Ok(RecordBatch::try_new(schema, columns.collect())?)
}

pub(crate) fn is_float(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Float32 | DataType::Float64)
}

fn of_floats<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    is_nan: impl Fn(&T::Native) -> bool,
) -> ArrayRef {
    let floats = column.as_primitive::<T>();
    let values = floats.values();
    if !values.iter().fold(false, |any, x| any | is_nan(x)) {
        return Arc::clone(column);
    }
    let numbers = NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |at| {
        !is_nan(&values[at])
    }));
    let known = NullBuffer::union(floats.nulls(), Some(&numbers));
    Arc::new(PrimitiveArray::<T>::new(values.clone(), known))
}
