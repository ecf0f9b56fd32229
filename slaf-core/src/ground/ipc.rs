//! Record batches as bytes, to be sent to another process.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::Result;

/// Batches of any schemas, each as an Arrow stream after the other.
pub(crate) fn to_bytes(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    for batch in batches {
        let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
        writer.write(batch)?;
        writer.finish()?;
    }
    Ok(bytes)
}

/// The batches that [`to_bytes`] has packed.
pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    let mut batches = vec![];
    while !bytes.is_empty() {
        for batch in StreamReader::try_new(&mut bytes, None)? {
            batches.push(batch?);
        }
    }
    Ok(batches)
}
