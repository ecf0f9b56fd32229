//! Options for running a statement.

use std::sync::Arc;

use super::read_progress::ReadProgress;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Polars,
    DataFusion,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Self::Polars => "polars",
            Self::DataFusion => "datafusion",
        }
    }
}

/// Options for one statement.
#[derive(Debug, Clone)]
pub struct Options {
    /// The engine to use; `None` chooses the faster one of those that give the right
    /// answer.
    pub engine: Option<Engine>,
    /// Approximate limit in bytes; beyond it, the engine spills to disk.
    pub memory: usize,
    /// Maximum number of rows in the answer.
    pub limit: Option<usize>,
    /// Receives the progress of the reads.
    pub reading: Arc<ReadProgress>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: None,
            memory: quarter(),
            limit: None,
            reading: Arc::default(),
        }
    }
}

/// A quarter of the machine's memory, or 1 GiB if that is unknown.
fn quarter() -> usize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok();
    let total = meminfo.as_deref().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    total.map_or(1 << 30, |kibibytes| kibibytes * 1024 / 4)
}
