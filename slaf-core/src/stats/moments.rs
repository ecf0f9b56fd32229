//! Count, sum, mean, variance, minimum and maximum of columns (in each group of
//! rows) and of rows. Values that are not stored count as zeros.
//!
//! Squares are summed about the mean of each block and combined as in Chan, Golub
//! and LeVeque (1979), so that values far from zero lose no precision.

use super::block::{Block, Visit, visit, wrong_length};
use crate::Result;
use crate::matrix::values::Value;

/// Moments of the columns of a matrix, for each group of its rows.
#[derive(Debug)]
pub struct Moments {
    width: usize,
    /// Rows of each group so far.
    rows: Vec<u64>,
    /// Group-major, like the rest.
    nonzero: Vec<u64>,
    total: Vec<f64>,
    squares: Vec<f64>,
    min: Vec<f64>,
    max: Vec<f64>,
}

/// One entry per row, or per group and column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub nonzero: Vec<u64>,
    pub total: Vec<f64>,
    /// Sum of squared deviations from the mean.
    pub squares: Vec<f64>,
    pub min: Vec<f64>,
    pub max: Vec<f64>,
}

impl Moments {
    pub fn new(groups: usize, width: usize) -> Self {
        let n = groups * width;
        Self {
            width,
            rows: vec![0; groups],
            nonzero: vec![0; n],
            total: vec![0.0; n],
            squares: vec![0.0; n],
            min: vec![f64::INFINITY; n],
            max: vec![f64::NEG_INFINITY; n],
        }
    }

    /// Adds rows; `groups` gives the group of each row, -1 for none.
    pub fn add(&mut self, block: &Block<'_>, groups: Option<&[i32]>) -> Result<()> {
        if block.width != self.width {
            return Err(wrong_length("columns", block.width, self.width));
        }
        if let Some(groups) = groups {
            if groups.len() != block.rows() {
                return Err(wrong_length("groups", groups.len(), block.rows()));
            }
            if let Some(group) = groups.iter().find(|g| **g >= self.rows.len() as i32) {
                return Err(wrong_length("groups", *group as usize + 1, self.rows.len()));
            }
        }
        visit(block, Add(self, groups));
        Ok(())
    }

    /// Rows of each group.
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    pub fn finish(&self) -> Summary {
        let mut found = Summary {
            nonzero: self.nonzero.clone(),
            total: self.total.clone(),
            squares: self.squares.clone(),
            min: self.min.clone(),
            max: self.max.clone(),
        };
        for at in 0..found.total.len() {
            found.with_zeros(at, self.rows[at / self.width]);
        }
        found
    }
}

impl Summary {
    /// Includes the zeros of entry `at`, which has `n` values in all, in
    /// minimum and maximum.
    fn with_zeros(&mut self, at: usize, n: u64) {
        let zeros = self.nonzero[at] < n;
        for (extreme, other) in [
            (&mut self.min[at], lower as fn(f64, f64) -> f64),
            (&mut self.max[at], higher),
        ] {
            if n == 0 {
                *extreme = f64::NAN;
            } else if zeros {
                *extreme = other(*extreme, 0.0);
            }
        }
    }
}

/// The minimum; NaN wins, as in numpy.
fn lower(a: f64, b: f64) -> f64 {
    if b < a || b.is_nan() { b } else { a }
}

fn higher(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

struct Add<'m, 'g>(&'m mut Moments, Option<&'g [i32]>);

impl Visit for Add<'_, '_> {
    type Output = ();

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) {
        let Self(all, groups) = self;
        let group_of = |row: usize| groups.map_or(Some(0), |g| usize::try_from(g[row]).ok());
        let n = all.total.len();
        let mut rows = vec![0u64; all.rows.len()];
        let mut nonzero = vec![0u64; n];
        let mut total = vec![0f64; n];
        for row in 0..block.rows() {
            let Some(group) = group_of(row) else { continue };
            rows[group] += 1;
            let first = group * all.width;
            for at in block.span(row) {
                let (place, value) = (first + block.indices[at] as usize, data[at].to_f64());
                total[place] += value;
                if value != 0.0 {
                    nonzero[place] += 1;
                    all.min[place] = lower(all.min[place], value);
                    all.max[place] = higher(all.max[place], value);
                }
            }
        }
        let count = |place: usize| rows[place / all.width] as f64;
        let means: Vec<f64> = (0..n)
            .map(|place| total[place] / count(place).max(1.0))
            .collect();
        let mut squares: Vec<f64> = (0..n)
            .map(|place| (count(place) - nonzero[place] as f64) * means[place] * means[place])
            .collect();
        for row in 0..block.rows() {
            let Some(group) = group_of(row) else { continue };
            let first = group * all.width;
            for at in block.span(row) {
                let (place, value) = (first + block.indices[at] as usize, data[at].to_f64());
                if value != 0.0 {
                    let deviation = value - means[place];
                    squares[place] += deviation * deviation;
                }
            }
        }
        for place in 0..n {
            let (before, more) = (all.rows[place / all.width] as f64, count(place));
            if before > 0.0 && more > 0.0 {
                let apart = means[place] - all.total[place] / before;
                squares[place] += apart * apart * before * more / (before + more);
            }
            all.squares[place] += squares[place];
            all.total[place] += total[place];
            all.nonzero[place] += nonzero[place];
        }
        for (all, more) in all.rows.iter_mut().zip(rows) {
            *all += more;
        }
    }
}

/// The moments of each row of a block.
pub fn of_rows(block: &Block<'_>) -> Summary {
    visit(block, OfRows)
}

struct OfRows;

impl Visit for OfRows {
    type Output = Summary;

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) -> Summary {
        let mut found = Summary::default();
        for row in 0..block.rows() {
            let values = || data[block.span(row)].iter().map(|v| v.to_f64());
            let total: f64 = values().sum();
            let nonzero = values().filter(|v| *v != 0.0);
            let mean = total / block.width.max(1) as f64;
            let (mut count, mut squares) = (0u64, 0.0);
            let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
            for value in nonzero {
                count += 1;
                squares += (value - mean) * (value - mean);
                min = lower(min, value);
                max = higher(max, value);
            }
            squares += (block.width as u64 - count) as f64 * mean * mean;
            found.nonzero.push(count);
            found.total.push(total);
            found.squares.push(squares);
            found.min.push(min);
            found.max.push(max);
            found.with_zeros(row, block.width as u64);
        }
        found
    }
}

/// The sum of the `ns[i]` greatest values of each row, row-major; `ns` ascends.
pub fn top_sums(block: &Block<'_>, ns: &[usize]) -> Vec<f64> {
    visit(block, TopSums(ns))
}

struct TopSums<'a>(&'a [usize]);

impl Visit for TopSums<'_> {
    type Output = Vec<f64>;

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) -> Vec<f64> {
        let mut out = Vec::with_capacity(block.rows() * self.0.len());
        let mut row_values: Vec<f64> = vec![];
        let most = self.0.last().copied().unwrap_or(0);
        for row in 0..block.rows() {
            row_values.clear();
            row_values.extend(data[block.span(row)].iter().map(|v| v.to_f64()));
            if most > 0 && most < row_values.len() {
                row_values.select_nth_unstable_by(most - 1, |a, b| b.total_cmp(a));
                row_values.truncate(most);
            }
            row_values.sort_unstable_by(|a, b| b.total_cmp(a));
            let (mut sum, mut taken) = (0.0, 0);
            for &n in self.0 {
                let end = n.min(row_values.len()).max(taken);
                sum += row_values[taken..end].iter().sum::<f64>();
                taken = end;
                out.push(sum);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Indices, ValuesRef};

    fn csr(dense: &[Vec<f64>]) -> (Vec<i64>, Vec<i32>, Vec<f64>) {
        let (mut indptr, mut indices, mut data) = (vec![0], vec![], vec![]);
        for row in dense {
            for (column, value) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                indices.push(column as i32);
                data.push(*value);
            }
            indptr.push(data.len() as i64);
        }
        (indptr, indices, data)
    }

    proptest! {
        #[test]
        fn blocks_and_groups_add_up_to_the_whole(
            dense in prop::collection::vec(prop::collection::vec(-3i32..4, 5), 0..20),
            shift in prop::sample::select(vec![0.0, 1e8]),
            cut in 0usize..20,
        ) {
            let lift = |v: &i32| if *v == 0 { 0.0 } else { f64::from(*v) + shift };
            let dense: Vec<Vec<f64>> = dense.iter().map(|r| r.iter().map(lift).collect()).collect();
            let groups: Vec<i32> = (0..dense.len() as i32).map(|row| row % 3 - 1).collect();
            let mut moments = Moments::new(2, 5);
            let cut = cut.min(dense.len());
            for part in [0..cut, cut..dense.len()] {
                let (indptr, indices, data) = csr(&dense[part.clone()]);
                let block = Block::new(Indices::I64(&indptr), &indices, ValuesRef::F64(&data), 5).unwrap();
                moments.add(&block, Some(&groups[part])).unwrap();
            }
            let found = moments.finish();
            for group in 0..2 {
                let rows: Vec<_> = dense.iter().zip(&groups).filter(|(_, g)| **g == group).collect();
                for column in 0..5 {
                    let values: Vec<f64> = rows.iter().map(|(row, _)| row[column]).collect();
                    let at = group as usize * 5 + column;
                    let total: f64 = values.iter().sum();
                    let mean = total / values.len().max(1) as f64;
                    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
                    prop_assert!((found.total[at] - total).abs() <= 1e-9 * total.abs());
                    prop_assert!((found.squares[at] - squares).abs() <= 1e-7 * squares.max(1.0));
                    if !values.is_empty() {
                        prop_assert_eq!(found.min[at], values.iter().copied().fold(f64::INFINITY, f64::min));
                        prop_assert_eq!(found.max[at], values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                    }
                }
            }
        }

        #[test]
        fn the_greatest_are_summed(row in prop::collection::vec(1i32..50, 0..30)) {
            let data: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            let indices: Vec<i32> = (0..data.len() as i32).collect();
            let indptr = [0, data.len() as i64];
            let block = Block::new(Indices::I64(&indptr), &indices, ValuesRef::F64(&data), 30).unwrap();
            let mut sorted = data.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let plain = |n: usize| sorted.iter().take(n).sum::<f64>();
            prop_assert_eq!(top_sums(&block, &[1, 5, 29]), vec![plain(1), plain(5), plain(29)]);
        }
    }
}
