//! The answer to a statement.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::options::Engine;

/// The answer to a statement, and how it was computed.
#[derive(Debug, Clone)]
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub engine: Engine,
    /// Why this engine was chosen.
    pub reason: String,
    /// Parts of the statement that may not mean what its author intended.
    pub warnings: Vec<String>,
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}
