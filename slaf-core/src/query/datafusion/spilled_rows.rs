//! The rows of an answer: in memory, or, if there are many, in a memory-mapped file
//! that is deleted with the answer.

use std::fs::File;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::root_as_footer;
use arrow::ipc::writer::FileWriter;

pub(crate) struct SpilledRows {
    batches: Vec<RecordBatch>,
    bytes: usize,
    /// The number of bytes that are kept in memory before rows are spilled.
    room: usize,
    file: Option<FileWriter<File>>,
}

impl SpilledRows {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            batches: vec![],
            bytes: 0,
            room,
            file: None,
        }
    }

    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        if let Some(file) = &mut self.file {
            return file.write(&batch);
        }
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        if self.bytes <= self.room {
            return Ok(());
        }
        let mut file = FileWriter::try_new(tempfile::tempfile()?, &self.batches[0].schema())?;
        for batch in self.batches.drain(..) {
            file.write(&batch)?;
        }
        self.file = Some(file);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Vec<RecordBatch>, ArrowError> {
        match self.file {
            None => Ok(self.batches),
            Some(mut writer) => {
                writer.finish()?;
                let file = writer.into_inner()?;
                // SAFETY: the file has no name, so that nobody else changes it.
                let map = unsafe { memmap2::Mmap::map(&file) }?;
                read(&Buffer::from(bytes::Bytes::from_owner(map)))
            }
        }
    }
}

/// The batches of an IPC file. Their arrays are views of the file.
fn read(file: &Buffer) -> Result<Vec<RecordBatch>, ArrowError> {
    let broken = |reason: String| ArrowError::IpcError(reason);
    let (tail, end) = (file.len().saturating_sub(10), file.len());
    let tail: [u8; 10] = file[tail..end]
        .try_into()
        .map_err(|_| broken("too short".into()))?;
    let footer = end - 10 - read_footer_length(tail)?;
    let footer = root_as_footer(&file[footer..end - 10]).map_err(|e| broken(e.to_string()))?;
    let schema = footer.schema().ok_or_else(|| broken("no schema".into()))?;
    let mut decoder = FileDecoder::new(Arc::new(fb_to_schema(schema)), footer.version());
    let block = |block: &arrow::ipc::Block| {
        let len = block.bodyLength() as usize + block.metaDataLength() as usize;
        file.slice_with_length(block.offset() as usize, len)
    };
    for dictionary in footer.dictionaries().iter().flatten() {
        decoder.read_dictionary(dictionary, &block(dictionary))?;
    }
    let blocks: Vec<_> = footer.recordBatches().iter().flatten().collect();
    let batches = blocks
        .iter()
        .map(|b| decoder.read_record_batch(b, &block(b)).transpose());
    batches.flatten().collect()
}
