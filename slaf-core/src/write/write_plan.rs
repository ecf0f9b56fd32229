//! The contents of a new dataset.

use crate::ValueType;

/// What a new dataset is made of.
#[derive(Debug, Clone)]
pub struct WritePlan {
    /// Cells × genes.
    pub shape: (u64, u64),
    /// uint16, float32 or float64.
    pub value_type: ValueType,
    /// Whether values that are not counts are refused.
    pub counts: bool,
    /// Whether to write the gene-major copy.
    pub by_gene: bool,
    /// Whether to replace a dataset at the target, once the new one is
    /// complete.
    pub overwrite: bool,
    /// Maximum number of rows per fragment, if less than usual.
    pub fragment_rows: Option<usize>,
    /// Identifies the input and its state. A killed conversion of the same
    /// input is continued.
    pub source: Option<String>,
}
