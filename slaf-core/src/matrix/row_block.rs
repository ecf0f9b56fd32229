//! A block of rows of a CSR matrix, to be written to a dataset.

use super::indices::Indices;
use super::values::ValuesRef;
use crate::{Error, Result};

/// A block of consecutive rows of a CSR matrix.
pub struct RowBlock<'a> {
    /// Length rows + 1. Only differences matter, so the first entry can be any
    /// number.
    pub indptr: &'a [i64],
    pub indices: Indices<'a>,
    pub data: ValuesRef<'a>,
}

impl RowBlock<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Checks that the arrays fit together.
    pub(crate) fn check(&self) -> Result<()> {
        let (Some(first), Some(last)) = (self.indptr.first(), self.indptr.last()) else {
            return Err(Error::bad_matrix("an empty indptr".into()));
        };
        if let Some(row) = self.indptr.windows(2).position(|pair| pair[1] < pair[0]) {
            return Err(Error::bad_matrix(format!(
                "indptr decreases at row {row} of a block"
            )));
        }
        let (indices, data) = (self.indices.len(), self.data.len());
        if data != indices || last - first != indices as i64 {
            let counted = last - first;
            return Err(Error::bad_matrix(format!(
                "indptr counts {counted} values, with {indices} indices and {data} data"
            )));
        }
        let starts = self.indptr.windows(2);
        let rows = starts.map(|pair| (pair[0] - first) as usize..(pair[1] - first) as usize);
        if let Some((row, at)) = self.indices.unordered(rows) {
            let (before, column) = (self.indices.at(at - 1), self.indices.at(at));
            return Err(Error::bad_matrix(format!(
                "row {row} of a block names column {column} after column {before}"
            )));
        }
        Ok(())
    }

    pub(crate) fn row_of(&self, place: usize) -> usize {
        let value = place as i64 + self.indptr[0];
        self.indptr.partition_point(|start| *start <= value) - 1
    }

    pub(crate) fn same_places(&self, other: &RowBlock<'_>) -> bool {
        let starts = |block: &RowBlock<'_>| block.indptr[0];
        let pairs = self.indptr.iter().zip(other.indptr);
        self.indices == other.indices
            && pairs.fold(true, |all, (a, b)| {
                all & (a - starts(self) == b - starts(other))
            })
    }
}
