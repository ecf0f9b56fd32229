//! Builds a CSR matrix from the rows of `expression` as they arrive.

use crate::Csr;
use crate::matrix::csr::sort_row;
use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::Value;

/// A CSR matrix that is being built from rows in stored order.
pub(super) struct CsrAssembly<T> {
    /// The number of rows that each cell will get.
    lengths: Vec<usize>,
    columns: Option<OutputPlaces>,
    /// The current cell, and how many of its rows are still missing.
    cell: usize,
    left: usize,
    indptr: Vec<i64>,
    indices: Vec<i32>,
    data: Vec<T>,
}

impl<T: Value> CsrAssembly<T> {
    pub(super) fn new(lengths: Vec<usize>, columns: Option<OutputPlaces>) -> Self {
        // Without a selection of genes, the size is known; with one, most rows are skipped.
        let capacity = if columns.is_none() {
            lengths.iter().sum()
        } else {
            0
        };
        let mut indptr = Vec::with_capacity(lengths.len() + 1);
        indptr.push(0);
        Self {
            left: lengths.first().copied().unwrap_or(0),
            lengths,
            columns,
            cell: 0,
            indptr,
            indices: Vec::with_capacity(capacity),
            data: Vec::with_capacity(capacity),
        }
    }

    pub(super) fn extend(&mut self, genes: &[i32], values: &[T]) {
        let mut at = 0;
        while at < genes.len() {
            while self.left == 0 {
                self.end_cell();
            }
            let take = self.left.min(genes.len() - at);
            self.extend_cell(&genes[at..at + take], &values[at..at + take]);
            self.left -= take;
            at += take;
        }
    }

    fn extend_cell(&mut self, genes: &[i32], values: &[T]) {
        let Some(columns) = &self.columns else {
            self.indices.extend_from_slice(genes);
            self.data.extend_from_slice(values);
            return;
        };
        for (&gene, &value) in genes.iter().zip(values) {
            for &column in columns.of(gene as usize) {
                self.indices.push(column);
                self.data.push(value);
            }
        }
    }

    fn end_cell(&mut self) {
        let start = self.indptr[self.cell] as usize;
        let indices = &mut self.indices[start..];
        if !indices.is_sorted() {
            sort_row(indices, &mut self.data[start..]);
        }
        self.indptr.push(self.indices.len() as i64);
        self.cell += 1;
        self.left = self.lengths.get(self.cell).copied().unwrap_or(usize::MAX);
    }

    pub(super) fn finish(mut self, order: Option<Vec<usize>>, width: usize) -> Csr {
        while self.cell < self.lengths.len() {
            self.end_cell();
        }
        let (indptr, indices, data) = match order {
            None => (self.indptr, self.indices, self.data),
            Some(order) => gather(&order, &self.indptr, &self.indices, &self.data),
        };
        Csr {
            shape: (indptr.len() - 1, width),
            indptr,
            indices,
            data: T::wrap(data),
        }
    }
}

/// Rows of a CSR matrix in another order; they can repeat.
fn gather<T: Copy>(
    order: &[usize],
    indptr: &[i64],
    indices: &[i32],
    data: &[T],
) -> (Vec<i64>, Vec<i32>, Vec<T>) {
    let span = |row: usize| indptr[row] as usize..indptr[row + 1] as usize;
    let total = order.iter().map(|&row| span(row).len()).sum();
    let mut out = (
        Vec::with_capacity(order.len() + 1),
        Vec::with_capacity(total),
        Vec::with_capacity(total),
    );
    out.0.push(0);
    for &row in order {
        out.1.extend_from_slice(&indices[span(row)]);
        out.2.extend_from_slice(&data[span(row)]);
        out.0.push(out.1.len() as i64);
    }
    out
}
