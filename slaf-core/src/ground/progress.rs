//! The progress of an operation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How much is done, out of how much. Other threads can read it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Begins a step with `total` units; zero if their number is not known.
    pub fn begin(&self, total: u64) {
        self.done.store(0, Relaxed);
        self.total.store(total, Relaxed);
    }

    /// `more` units are done.
    pub fn add(&self, more: u64) {
        self.done.fetch_add(more, Relaxed);
    }

    /// The units that are done, and all units of the step.
    pub fn so_far(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }
}
