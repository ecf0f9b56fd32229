//! How much a query has read of what it will read. Other threads can look at it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow::array::{Array, RecordBatch};

#[derive(Debug, Default)]
pub struct ReadProgress {
    done: AtomicU64,
    total: AtomicU64,
    bytes: AtomicU64,
}

impl ReadProgress {
    /// Rows of `expression` that were read, and the number to read as far as it is
    /// known.
    pub fn rows(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }

    /// Size in memory of the rows that were read, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn expect_rows(&self, rows: u64) {
        self.total.fetch_add(rows, Relaxed);
    }

    pub(crate) fn add(&self, batch: &RecordBatch) {
        let columns = batch.columns().iter();
        let bytes: usize = columns
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
            .sum();
        self.done.fetch_add(batch.num_rows() as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}
