//! XᵀX of a sparse matrix that arrives in blocks; a covariance matrix is made from
//! it.

use super::block::{Block, Visit, visit, wrong_length};
use crate::Result;
use crate::matrix::values::Value;

/// XᵀX. The upper triangle is summed; [`Gram::finish`] mirrors it.
#[derive(Debug)]
pub struct Gram {
    width: usize,
    sums: Vec<f64>,
}

impl Gram {
    pub fn new(width: usize) -> Self {
        Self {
            width,
            sums: vec![0.0; width * width],
        }
    }

    /// Adds rows, in which columns ascend.
    pub fn add(&mut self, block: &Block<'_>) -> Result<()> {
        if block.width != self.width {
            return Err(wrong_length("columns", block.width, self.width));
        }
        visit(block, Add(self));
        Ok(())
    }

    /// `width` × `width`, row-major.
    pub fn finish(&self) -> Vec<f64> {
        let mut whole = self.sums.clone();
        for row in 0..self.width {
            for column in 0..row {
                whole[row * self.width + column] = self.sums[column * self.width + row];
            }
        }
        whole
    }
}

struct Add<'a>(&'a mut Gram);

impl Visit for Add<'_> {
    type Output = ();

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) {
        let gram = self.0;
        let mut values: Vec<f64> = vec![];
        for row in 0..block.rows() {
            let span = block.span(row);
            let indices = &block.indices[span.clone()];
            values.clear();
            values.extend(data[span].iter().map(|v| v.to_f64()));
            for (at, &i) in indices.iter().enumerate() {
                let sums = &mut gram.sums[i as usize * gram.width..][..gram.width];
                let value = values[at];
                for (&j, other) in indices[at..].iter().zip(&values[at..]) {
                    sums[j as usize] += value * other;
                }
            }
        }
    }
}
