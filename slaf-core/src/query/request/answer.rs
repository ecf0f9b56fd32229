//! The answer to a statement.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::options::Engine;

/// What a statement answered, and how.
#[derive(Debug, Clone)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub engine: Engine,
    /// Why this engine ran it.
    pub reason: String,
    /// What was taken in a way that its author may not have meant.
    pub warnings: Vec<String>,
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}
