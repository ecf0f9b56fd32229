//! The progress of an operation.

use std::sync::atomic::AtomicU64;

/// How much is done, out of how much. Other threads can read it.
#[derive(Debug, Default)]
pub struct Progress {
    pub done: AtomicU64,
    pub total: AtomicU64,
}
