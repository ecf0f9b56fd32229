//! A source of a loader: a dataset and its cells, and the form in which they are
//! delivered.

use std::sync::Arc;

use crate::tokens::{Tokenizer, Tokens};
use crate::{Csr, Dataset, ValueType};

/// A dataset, or a part of it, to draw cells from. It is read as it was opened,
/// whatever is appended meanwhile.
pub struct Source {
    pub dataset: Dataset,
    /// Ascending; `None` for all.
    pub cells: Option<Vec<u64>>,
    /// What batches are made of.
    pub content: Content,
}

/// What batches hold of a source's cells.
#[derive(Clone)]
pub enum Content {
    Tokens(Arc<dyn Tokenizer>),
    /// Rows of a CSR matrix of `width` columns.
    Rows {
        /// The column of each gene, -1 for genes that are left out; `None`
        /// where they are the same.
        columns: Option<Arc<[i32]>>,
        width: usize,
        dtype: ValueType,
    },
}

/// Some cells.
#[derive(Debug)]
pub struct Batch {
    pub epoch: u64,
    /// Which of the epoch's batches.
    pub index: u64,
    /// Positions of its cells, and their numbers in their datasets.
    pub positions: Vec<i64>,
    pub cells: Vec<i64>,
    pub content: BatchContent,
}

#[derive(Debug)]
pub enum BatchContent {
    Tokens(Tokens),
    Rows(Csr),
}
