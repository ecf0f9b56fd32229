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

/// How a statement is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Forces an engine; otherwise the quicker of those that are right runs.
    pub engine: Option<Engine>,
    /// Bytes that may be taken before the engine spills to disk, about.
    pub memory: usize,
    /// Rows that are wanted at most.
    pub limit: Option<usize>,
    /// Tells others how far it is.
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

/// A quarter of the machine's memory, or 1 GiB if it does not tell.
fn quarter() -> usize {
    let told = std::fs::read_to_string("/proc/meminfo").ok();
    let total = told.as_deref().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    total.map_or(1 << 30, |kibibytes| kibibytes * 1024 / 4)
}
