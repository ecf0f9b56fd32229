//! CSR to CSC in memory, by counting.

use super::block::{Block, Visit, visit};
use crate::matrix::values::Value;
use crate::{Csr, Values};

/// The columns of `block` as rows; row indices ascend.
pub fn to_csc(block: &Block<'_>) -> Csr {
    let mut indptr = vec![0i64; block.width + 1];
    for row in 0..block.rows() {
        for at in block.span(row) {
            indptr[block.indices[at] as usize + 1] += 1;
        }
    }
    for column in 0..block.width {
        indptr[column + 1] += indptr[column];
    }
    let mut places = vec![0i32; indptr[block.width] as usize];
    let data = {
        let scatter = Scatter {
            indptr: &indptr,
            places: &mut places,
        };
        visit(block, scatter)
    };
    Csr {
        shape: (block.width, block.rows()),
        indptr,
        indices: places,
        data,
    }
}

struct Scatter<'a> {
    indptr: &'a [i64],
    places: &'a mut [i32],
}

impl Visit for Scatter<'_> {
    type Output = Values;

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) -> Values {
        let mut next = self.indptr.to_vec();
        let mut out = vec![T::default(); self.places.len()];
        for row in 0..block.rows() {
            for at in block.span(row) {
                let slot = &mut next[block.indices[at] as usize];
                self.places[*slot as usize] = row as i32;
                out[*slot as usize] = data[at];
                *slot += 1;
            }
        }
        T::wrap(out)
    }
}
