//! The progress of an operation.

use std::sync::atomic::AtomicU64;

/// How much of how much is done; looked at from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    pub done: AtomicU64,
    pub total: AtomicU64,
}
