//! The contents of a new dataset.

use crate::ValueType;

/// What a new dataset is made of.
#[derive(Debug, Clone)]
pub struct WritePlan {
    /// Cells × genes.
    pub shape: (u64, u64),
    /// uint16, float32 or float64.
    pub value_type: ValueType,
    /// Whether values that count nothing are refused.
    pub counts: bool,
    /// Whether the gene-major copy is written too.
    pub by_gene: bool,
    /// Whether what stands at the target is replaced, by a whole dataset.
    pub overwrite: bool,
    /// Rows of a fragment at most, if fewer than usual.
    pub fragment_rows: Option<usize>,
    /// Names the input and its state. A conversion of the same that died is
    /// taken up where it was.
    pub source: Option<String>,
}
