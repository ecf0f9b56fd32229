//! How much a query has read of what it will read. Other threads can look at it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub struct ReadProgress {
    done: AtomicU64,
    total: AtomicU64,
}

impl ReadProgress {
    /// Rows of `expression` read, and to be read as far as is known.
    pub fn rows(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }

    pub(crate) fn expect_rows(&self, rows: u64) {
        self.total.fetch_add(rows, Relaxed);
    }

    pub(crate) fn add_rows(&self, rows: u64) {
        self.done.fetch_add(rows, Relaxed);
    }
}
