//! Conversion between arrow-rs, which Lance and DataFusion use, and Polars' own
//! Arrow, through the C data interface, without copying buffers.

use std::mem::transmute;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StructArray, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use polars::prelude::{Column, CompatLevel, DataFrame, IntoColumn, PlSmallStr, Series};
use polars_arrow::ffi as polars_ffi;

use crate::Result;

/// A frame that shares the batch's buffers.
pub(crate) fn to_polars(batch: &RecordBatch) -> Result<DataFrame> {
    let columns: Vec<Column> = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| column_to_polars(field, array))
        .collect::<Result<_>>()?;
    Ok(DataFrame::new(batch.num_rows(), columns)?)
}

/// A column that shares the array's buffers.
fn column_to_polars(field: &Field, array: &ArrayRef) -> Result<Column> {
    let (array, _) = to_ffi(&array.to_data())?;
    let schema = FFI_ArrowSchema::try_from(field)?;
    // SAFETY: both sides declare the structs of the C data interface, whose
    // layout is fixed, and ownership moves with the value.
    let array = unsafe {
        let schema: polars_ffi::ArrowSchema = transmute(schema);
        let array: polars_ffi::ArrowArray = transmute(array);
        let field = polars_ffi::import_field_from_c(&schema)?;
        polars_ffi::import_array_from_c(array, field.dtype)?
    };
    let name = PlSmallStr::from_str(field.name());
    Ok(Series::try_from((name, array))?.into_column())
}

/// The same, with values instead of dictionary codes.
pub(crate) fn plain_to_polars(name: &str, array: &ArrayRef) -> Result<Column> {
    let plain = match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values)?,
        _ => Arc::clone(array),
    };
    let field = Field::new(name, plain.data_type().clone(), true);
    column_to_polars(&field, &plain)
}

/// A batch that shares the frame's buffers; a column in several chunks is
/// joined.
pub(crate) fn to_arrow(mut frame: DataFrame) -> Result<RecordBatch> {
    frame.rechunk_mut_par();
    let mut fields = vec![];
    let mut arrays: Vec<ArrayRef> = vec![];
    for column in frame.columns() {
        let series = column.as_materialized_series();
        let level = CompatLevel::newest();
        let field = series.field().to_arrow(level);
        let chunk = series.to_arrow(0, level);
        // SAFETY: as above, the other way.
        let data = unsafe {
            let schema: FFI_ArrowSchema = transmute(polars_ffi::export_field_to_c(&field));
            let array: FFI_ArrowArray = transmute(polars_ffi::export_array_to_c(chunk));
            from_ffi(array, &schema)?
        };
        fields.push(Field::new(
            column.name().as_str(),
            data.data_type().clone(),
            true,
        ));
        arrays.push(make_array(data));
    }
    let rows = frame.height();
    let schema = Arc::new(Schema::new(fields));
    if arrays.is_empty() {
        return Ok(RecordBatch::from(StructArray::new_empty_fields(rows, None)));
    }
    Ok(RecordBatch::try_new(schema, arrays)?)
}
