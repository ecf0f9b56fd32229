//! XᵀX of a sparse matrix that arrives in blocks, from which a covariance matrix can be
//! computed.

use std::thread;

use super::block::{Block, Visit, visit, wrong_length};
use crate::Result;
use crate::matrix::values::Value;

/// Maximum number of values that are added at once; a longer row is added alone.
const VALUES: usize = 1 << 18;

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
        let mut first = 0;
        while first < block.rows() {
            let mut end = first + 1;
            let start = block.span(first).start;
            while end < block.rows() && block.span(end).end - start <= VALUES {
                end += 1;
            }
            let values = data[start..block.span(end - 1).end].iter();
            let rows = Rows {
                indices: &block.indices[start..block.span(end - 1).end],
                values: values.map(|v| v.to_f64()).collect(),
                ends: (first..end).map(|r| block.span(r).end - start).collect(),
            };
            rows.add(self.0);
            first = end;
        }
    }
}

/// A few rows.
struct Rows<'a> {
    indices: &'a [i32],
    values: Vec<f64>,
    /// The end of each row among the values.
    ends: Vec<usize>,
}

impl Rows<'_> {
    /// Adds the products column by column, so that the row of sums to which they are
    /// added stays in the cache.
    fn add(&self, gram: &mut Gram) {
        let width = gram.width;
        let (starts, places) = self.by_column(width);
        let mut work = vec![0; width + 1];
        for column in 0..width {
            let products = places[starts[column]..starts[column + 1]].iter();
            let products: usize = products.map(|(at, end)| (end - at) as usize).sum();
            work[column + 1] = work[column] + products;
        }
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = work[width].div_ceil(threads).max(1);
        thread::scope(|scope| {
            let mut left = gram.sums.as_mut_slice();
            let mut first = 0;
            for thread in 1..=threads {
                let end = work.partition_point(|w| *w <= thread * share) - 1;
                let end = if thread == threads { width } else { end };
                let (sums, others) = left.split_at_mut((end - first) * width);
                left = others;
                let (columns, starts, places) = (first..end, &starts, &places);
                let sum = move || {
                    for (column, sums) in columns.zip(sums.chunks_mut(width.max(1))) {
                        self.add_column(&places[starts[column]..starts[column + 1]], sums);
                    }
                };
                if thread == threads {
                    sum();
                } else {
                    scope.spawn(sum);
                }
                first = end;
            }
        });
    }

    /// For each value of a column, adds its products with the values after it in its row.
    fn add_column(&self, places: &[(u32, u32)], sums: &mut [f64]) {
        for &(at, end) in places {
            let rest = at as usize..end as usize;
            let value = self.values[rest.start];
            for (&column, other) in self.indices[rest.clone()].iter().zip(&self.values[rest]) {
                sums[column as usize] += value * other;
            }
        }
    }

    /// Sorts the values by column: the start of each column in the list, and for each
    /// value its position and the end of its row.
    fn by_column(&self, width: usize) -> (Vec<usize>, Vec<(u32, u32)>) {
        let mut starts = vec![0; width + 1];
        for &column in self.indices {
            starts[column as usize + 1] += 1;
        }
        for column in 0..width {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let mut places = vec![(0, 0); self.indices.len()];
        let mut start = 0;
        for &end in &self.ends {
            for at in start..end {
                let next = &mut next[self.indices[at] as usize];
                places[*next] = (at as u32, end as u32);
                *next += 1;
            }
            start = end;
        }
        (starts, places)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Indices, ValuesRef};

    proptest! {
        #[test]
        fn it_is_the_product_of_columns(
            dense in prop::collection::vec(prop::collection::vec(-2i32..3, 7), 0..30),
        ) {
            let (mut indptr, mut indices, mut data) = (vec![0i64], vec![], vec![]);
            for row in &dense {
                for (column, value) in row.iter().enumerate().filter(|(_, v)| **v != 0) {
                    indices.push(column as i32);
                    data.push(f64::from(*value));
                }
                indptr.push(data.len() as i64);
            }
            let block = Block::new(Indices::I64(&indptr), &indices, ValuesRef::F64(&data), 7).unwrap();
            let mut gram = Gram::new(7);
            gram.add(&block).unwrap();
            gram.add(&block).unwrap();
            let found = gram.finish();
            for a in 0..7 {
                for b in 0..7 {
                    let product: i32 = dense.iter().map(|row| row[a] * row[b]).sum();
                    prop_assert_eq!(found[a * 7 + b], f64::from(2 * product));
                }
            }
        }
    }
}
