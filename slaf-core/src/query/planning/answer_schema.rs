//! The schema of an answer, the same from either executor.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

/// Batches with one schema. The inputs of a UNION differ in which columns may be NULL,
/// and computed columns may differ from planned ones. If two columns have the same
/// name, as after a join with ON, they are numbered as in DuckDB.
pub(crate) fn uniform(
    planned: SchemaRef,
    batches: Vec<RecordBatch>,
) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let computed = batches.first().map_or(planned, RecordBatch::schema);
    let mut fields: Vec<Field> = Vec::with_capacity(computed.fields().len());
    for field in computed.fields() {
        let taken = |name: &str| fields.iter().any(|f| f.name() == name);
        let numbered = (1..).map(|n| format!("{}_{n}", field.name()));
        let mut names = std::iter::once(field.name().clone()).chain(numbered);
        let name = names.find(|name| !taken(name)).unwrap_or_default();
        fields.push(Field::new(name, field.data_type().clone(), true));
    }
    let schema = Arc::new(Schema::new(fields));
    let batches = batches
        .into_iter()
        .map(|batch| {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| cast(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
        })
        .collect::<Result<_, _>>()?;
    Ok((schema, batches))
}

/// Converts text to the planned one of Arrow's types for text.
pub(crate) fn as_planned(column: &ArrayRef, planned: &DataType) -> Result<ArrayRef, ArrowError> {
    let text = |dtype: &DataType| {
        matches!(
            dtype,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        )
    };
    match text(column.data_type()) && text(planned) {
        true => Ok(Arc::clone(column)),
        false => cast(column, planned),
    }
}
