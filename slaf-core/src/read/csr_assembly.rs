//! Builds a CSR matrix from the rows of `expression` as they arrive.

use crate::Csr;
use crate::matrix::csr::sort_row;
use crate::matrix::selection::OutputPlaces;
use crate::matrix::values::Value;

/// A CSR matrix that is being built from rows in stored order.
pub(super) struct CsrAssembly<T> {
    /// The number of rows that each cell will get.
    lengths: Vec<usize>,
    columns: Option<Columns>,
    /// The current cell, and how many of its rows are still missing.
    cell: usize,
    left: usize,
    indptr: Vec<i64>,
    indices: Vec<i32>,
    data: Vec<T>,
}

/// The selected columns.
enum Columns {
    /// The output column of each gene, -1 if it is not selected.
    Once(Vec<i32>),
    /// Some genes are selected several times.
    Repeated(OutputPlaces),
}

impl<T: Value> CsrAssembly<T> {
    pub(super) fn new(lengths: Vec<usize>, columns: Option<OutputPlaces>) -> Self {
        let values: usize = lengths.iter().sum();
        // Selected genes usually have more values than others, here up to four times as
        // many. Capacity that is not used takes no memory.
        let capacity = columns.as_ref().map_or(values, |columns| {
            values.min(values.saturating_mul(4 * columns.selected()) / columns.len().max(1))
        });
        let mut indptr = Vec::with_capacity(lengths.len() + 1);
        indptr.push(0);
        let columns = columns.map(|columns| match columns.once() {
            Some(places) => Columns::Once(places),
            None => Columns::Repeated(columns),
        });
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
        match columns {
            Columns::Once(places) => {
                // Every value is written. If its gene is not selected, the next value
                // overwrites it. This avoids a branch per value, which would often be
                // mispredicted.
                let mut end = self.indices.len();
                self.indices.resize(end + genes.len(), 0);
                self.data.resize(end + genes.len(), T::default());
                for (&gene, &value) in genes.iter().zip(values) {
                    let place = places[gene as usize];
                    self.indices[end] = place;
                    self.data[end] = value;
                    end += usize::from(place >= 0);
                }
                self.indices.truncate(end);
                self.data.truncate(end);
            }
            Columns::Repeated(places) => {
                for (&gene, &value) in genes.iter().zip(values) {
                    for &column in places.of(gene as usize) {
                        self.indices.push(column);
                        self.data.push(value);
                    }
                }
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
