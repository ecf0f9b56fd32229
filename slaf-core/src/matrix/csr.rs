//! CSR matrices in memory.

use super::values::{Value, Values};

/// A compressed sparse row matrix; column indices ascend within a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Csr {
    pub shape: (usize, usize),
    /// Length `shape.0 + 1`.
    pub indptr: Vec<i64>,
    pub indices: Vec<i32>,
    pub data: Values,
}

impl Csr {
    /// From rows, columns and values in any order.
    pub(crate) fn from_triplets<T: Value>(
        triplets: Vec<(i32, i32, T)>,
        shape: (usize, usize),
    ) -> Self {
        let mut indptr = vec![0i64; shape.0 + 1];
        for (row, ..) in &triplets {
            indptr[*row as usize + 1] += 1;
        }
        for row in 0..shape.0 {
            indptr[row + 1] += indptr[row];
        }
        let mut next = indptr.clone();
        let mut indices = vec![0; triplets.len()];
        let mut data: Vec<T> = triplets.iter().map(|(.., value)| *value).collect();
        for (row, column, value) in triplets {
            let slot = &mut next[row as usize];
            indices[*slot as usize] = column;
            data[*slot as usize] = value;
            *slot += 1;
        }
        for row in indptr.windows(2) {
            let span = row[0] as usize..row[1] as usize;
            if !indices[span.clone()].is_sorted() {
                sort_row(&mut indices[span.clone()], &mut data[span]);
            }
        }
        Self {
            shape,
            indptr,
            indices,
            data: T::wrap(data),
        }
    }
}

/// Sorts one row by column.
pub(crate) fn sort_row<T: Copy>(indices: &mut [i32], data: &mut [T]) {
    let mut pairs: Vec<(i32, T)> = indices.iter().copied().zip(data.iter().copied()).collect();
    pairs.sort_by_key(|(column, _)| *column);
    for (at, (column, value)) in pairs.into_iter().enumerate() {
        indices[at] = column;
        data[at] = value;
    }
}
