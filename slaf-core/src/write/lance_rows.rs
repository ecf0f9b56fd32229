//! Writes rows to Lance tables, always with the same settings.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::Stream;
use lance::dataset::{InsertBuilder, WriteMode, WriteParams};
use lance_file::version::LanceFileVersion;
use lance_file::writer::FileWriterOptions;

use crate::ground::error::{first_line, is_storage_failure};
use crate::{Error, Place, Result};

/// Rows per fragment. Opening a fragment of this size takes little time compared with
/// reading it, and most datasets have several of them, which slafdb's loader reads in
/// parallel.
pub(crate) const FRAGMENT_ROWS: usize = 16 << 20;
/// Bytes of all columns that are collected before they are encoded: half of
/// Lance's default for three columns. A conversion of 60 million values used 30
/// MB less memory, and took no longer.
const BUFFERED: u64 = 12 << 20;

/// A column of numbers that is run-length encoded only if its runs have four values or
/// more on average. Shorter runs are smaller when bit-packed. By default, Lance compares
/// both for each page, which took a fifth of a conversion.
pub(super) fn packed(name: &str, dtype: DataType, nullable: bool) -> Field {
    let metadata = [("lance-encoding:rle-threshold".to_owned(), "0.25".to_owned())];
    Field::new(name, dtype, nullable).with_metadata(metadata.into())
}

/// Appends rows to a table. Columns that they do not have are null. Returns the
/// version.
pub(crate) async fn append_stream(
    place: &Place,
    folder: &str,
    base: Arc<lance::Dataset>,
    schema: &SchemaRef,
    rows: impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static,
) -> Result<u64> {
    let written = InsertBuilder::new(base)
        .with_params(&write_params(place, WriteMode::Append))
        .execute_stream(stream_of(schema, rows))
        .await
        .map_err(|e| failed(place, folder, &e))?;
    Ok(written.version_id())
}

/// Writes a whole table; if it exists, it gets a new version. Returns the
/// version.
pub(crate) async fn write_stream(
    place: &Place,
    folder: &str,
    schema: &SchemaRef,
    rows: impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static,
) -> Result<u64> {
    let uri = place.table_uri(folder);
    let written = InsertBuilder::new(uri.as_str())
        .with_params(&write_params(place, WriteMode::Overwrite))
        .execute_stream(stream_of(schema, rows))
        .await
        .map_err(|e| failed(place, folder, &e))?;
    Ok(written.version_id())
}

pub(super) fn write_params(place: &Place, mode: WriteMode) -> WriteParams {
    WriteParams {
        mode,
        max_rows_per_file: FRAGMENT_ROWS,
        data_storage_version: Some(LanceFileVersion::V2_2),
        enable_v2_manifest_paths: true,
        // Nobody else uses the arrays, so the writer can keep them without a copy.
        file_writer_options: Some(FileWriterOptions {
            data_cache_bytes: Some(BUFFERED),
            keep_original_array: Some(true),
            ..FileWriterOptions::default()
        }),
        store_params: Some(place.params()),
        session: Some(place.session()),
        ..WriteParams::default()
    }
}

pub(super) fn stream_of(
    schema: &SchemaRef,
    rows: impl Stream<Item = datafusion::error::Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows))
}

pub(crate) fn failed(place: &Place, folder: &str, error: &lance::Error) -> Error {
    let text = error.to_string();
    if is_storage_failure(&text) {
        return Error::storage(place.uri(), &text);
    }
    Error::Engine {
        message: format!(
            "Writing `{folder}` of `{}` failed: {}.",
            place.uri(),
            first_line(&text)
        ),
    }
}
