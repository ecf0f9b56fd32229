//! A source of a loader: a dataset and its cells, and the form in which they are
//! delivered.

use std::sync::Arc;

use crate::tokens::{Tokenizer, Tokens};
use crate::{Csr, Dataset, ValueType};

/// A dataset, or some of its cells, to sample from. It is read in the version
/// that was opened, even if cells are appended.
pub struct Source {
    pub dataset: Dataset,
    /// Ascending; `None` for all.
    pub cells: Option<Vec<u64>>,
    /// The content of the batches.
    pub content: Content,
}

/// The content of batches, for the cells of a source.
#[derive(Clone)]
pub enum Content {
    Tokens(Arc<dyn Tokenizer>),
    /// Rows of a CSR matrix of `width` columns.
    Rows {
        /// The column of each gene, -1 for genes that are left out; `None` if
        /// columns are genes.
        columns: Option<Arc<[i32]>>,
        width: usize,
        dtype: ValueType,
    },
}

/// A batch of cells.
#[derive(Debug)]
pub struct Batch {
    pub epoch: u64,
    /// The number of the batch in the epoch.
    pub index: u64,
    /// Positions of its cells, and their integer ids in their datasets.
    pub positions: Vec<i64>,
    pub cells: Vec<i64>,
    pub content: BatchContent,
}

#[derive(Debug)]
pub enum BatchContent {
    Tokens(Tokens),
    Rows(Csr),
}
