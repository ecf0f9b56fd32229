//! Count, sum, mean, variance, minimum and maximum of columns (in each group of
//! rows) and of rows. Values that are not stored count as zeros.
//!
//! Squares are summed about the mean of each block and combined as in Chan, Golub
//! and LeVeque (1979), so that values far from zero lose no precision.

use std::ops::Range;

use super::block::{Block, Visit, visit, wrong_length};
use crate::Result;
use crate::matrix::values::Value;

/// Moments of the columns of a matrix, for each group of its rows.
#[derive(Debug)]
pub struct Moments {
    width: usize,
    /// Rows of each group so far.
    rows: Vec<u64>,
    /// The moments of each group and column, group-major. The numbers of one column are
    /// stored together, because columns come in any order, and one of them fits into a
    /// line of the cache.
    columns: Vec<OfColumn>,
    /// The sums of one block, zero between blocks.
    block: Vec<OfBlock>,
}

#[derive(Debug, Clone, Copy)]
struct OfColumn {
    nonzero: u64,
    total: f64,
    squares: f64,
    min: f64,
    max: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfBlock {
    nonzero: u64,
    total: f64,
    mean: f64,
    squares: f64,
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
        let none = OfColumn {
            nonzero: 0,
            total: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        };
        Self {
            width,
            rows: vec![0; groups],
            columns: vec![none; groups * width],
            block: vec![OfBlock::default(); groups * width],
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
        let of = |what: fn(&OfColumn) -> f64| self.columns.iter().map(what).collect();
        let mut found = Summary {
            nonzero: self.columns.iter().map(|c| c.nonzero).collect(),
            total: of(|c| c.total),
            squares: of(|c| c.squares),
            min: of(|c| c.min),
            max: of(|c| c.max),
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
        let mut rows = vec![0u64; all.rows.len()];
        for row in 0..block.rows() {
            let Some(group) = group_of(row) else { continue };
            rows[group] += 1;
            let places = group * all.width..(group + 1) * all.width;
            let columns = &mut all.columns[places.clone()];
            let sums = &mut all.block[places];
            for at in block.span(row) {
                let (column, value) = (block.indices[at] as usize, data[at].to_f64());
                if value != 0.0 {
                    let (sums, column) = (&mut sums[column], &mut columns[column]);
                    sums.nonzero += 1;
                    sums.total += value;
                    column.min = lower(column.min, value);
                    column.max = higher(column.max, value);
                }
            }
        }
        for (group, count) in all.groups_of(&rows) {
            for sums in &mut all.block[group] {
                sums.mean = sums.total / count;
                sums.squares = (count - sums.nonzero as f64) * sums.mean * sums.mean;
            }
        }
        for row in 0..block.rows() {
            let Some(group) = group_of(row) else { continue };
            let sums = &mut all.block[group * all.width..(group + 1) * all.width];
            for at in block.span(row) {
                let value = data[at].to_f64();
                if value != 0.0 {
                    let sums = &mut sums[block.indices[at] as usize];
                    let deviation = value - sums.mean;
                    sums.squares += deviation * deviation;
                }
            }
        }
        all.join(&rows);
    }
}

impl Moments {
    /// The places of the groups that have rows, and how many.
    fn groups_of(&self, rows: &[u64]) -> Vec<(Range<usize>, f64)> {
        let groups = rows.iter().enumerate().filter(|(_, rows)| **rows > 0);
        let places = |group: usize| group * self.width..(group + 1) * self.width;
        groups.map(|(g, rows)| (places(g), *rows as f64)).collect()
    }

    /// Combines the sums of a block with those of the blocks before.
    fn join(&mut self, rows: &[u64]) {
        for (places, more) in self.groups_of(rows) {
            let before = self.rows[places.start / self.width.max(1)] as f64;
            let columns = &mut self.columns[places.clone()];
            for (column, sums) in columns.iter_mut().zip(&mut self.block[places]) {
                let sums = std::mem::take(sums);
                if before > 0.0 {
                    let apart = sums.mean - column.total / before;
                    column.squares += apart * apart * before * more / (before + more);
                }
                column.squares += sums.squares;
                column.total += sums.total;
                column.nonzero += sums.nonzero;
            }
        }
        for (all, more) in self.rows.iter_mut().zip(rows) {
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
