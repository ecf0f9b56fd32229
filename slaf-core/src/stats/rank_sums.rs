//! Rank sums of groups, column by column, for the Wilcoxon test. The zeros of a
//! column are tied, and are never listed.

use std::thread;

use super::block::{Block, Visit, visit, wrong_length};
use crate::Result;
use crate::matrix::values::Value;

#[derive(Debug, Clone, PartialEq)]
pub struct RankSums {
    /// Column-major: the sum of the ranks of each group (from 1, ties
    /// averaged).
    pub sums: Vec<f64>,
    /// For each column, the sum of t³ − t over its ties of t values.
    pub ties: Vec<f64>,
}

/// Rank sums of the columns of a CSC matrix. `groups` gives the group of each
/// row; rows of group -1 are left out.
pub fn rank_sums(columns: &Block<'_>, groups: &[i32], n_groups: usize) -> Result<RankSums> {
    if groups.len() != columns.width {
        return Err(wrong_length("groups", groups.len(), columns.width));
    }
    if let Some(group) = groups.iter().find(|g| **g >= n_groups as i32) {
        return Err(wrong_length("groups", *group as usize + 1, n_groups));
    }
    let n = columns.rows();
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(n.max(1));
    let mut found = RankSums {
        sums: vec![0.0; n * n_groups],
        ties: vec![0.0; n],
    };
    let share = n.div_ceil(threads).max(1);
    let mut sizes = vec![0u64; n_groups];
    for group in groups.iter().filter(|g| **g >= 0) {
        sizes[*group as usize] += 1;
    }
    thread::scope(|scope| {
        let sums = found.sums.chunks_mut((share * n_groups).max(1));
        let ties = found.ties.chunks_mut(share);
        for (part, (sums, ties)) in sums.zip(ties).enumerate() {
            let sizes = &sizes;
            scope.spawn(move || {
                let work = Work {
                    first: part * share,
                    groups,
                    sizes,
                    sums,
                    ties,
                };
                visit(columns, work);
            });
        }
    });
    Ok(found)
}

struct Work<'a> {
    first: usize,
    groups: &'a [i32],
    sizes: &'a [u64],
    sums: &'a mut [f64],
    ties: &'a mut [f64],
}

impl Visit for Work<'_> {
    type Output = ();

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) {
        let n_groups = self.sizes.len();
        let mut listed: Vec<(f64, u32)> = vec![];
        let mut zeros = vec![0u64; n_groups];
        for (at, ties) in self.ties.iter_mut().enumerate() {
            let sums = &mut self.sums[at * n_groups..(at + 1) * n_groups];
            listed.clear();
            zeros.copy_from_slice(self.sizes);
            for place in block.span(self.first + at) {
                let (group, value) = (
                    self.groups[block.indices[place] as usize],
                    data[place].to_f64(),
                );
                if group >= 0 && value != 0.0 {
                    zeros[group as usize] -= 1;
                    listed.push((value, group as u32));
                }
            }
            listed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let all_zeros: u64 = zeros.iter().sum();
            let negative = listed.partition_point(|(value, _)| *value < 0.0);
            let mut before = 0u64;
            let mut tied = |n: u64, each: &mut dyn FnMut(f64)| {
                let n = n as f64;
                each(before as f64 + (n + 1.0) / 2.0);
                *ties += n * n * n - n;
                before += n as u64;
            };
            let mut run = |part: &[(f64, u32)], tied: &mut dyn FnMut(u64, &mut dyn FnMut(f64))| {
                for same in part.chunk_by(|a, b| a.0 == b.0) {
                    tied(same.len() as u64, &mut |rank| {
                        for (_, group) in same {
                            sums[*group as usize] += rank;
                        }
                    });
                }
            };
            run(&listed[..negative], &mut tied);
            if all_zeros > 0 {
                let mut middle = 0.0;
                tied(all_zeros, &mut |rank| middle = rank);
                run(&listed[negative..], &mut tied);
                for (sum, n) in sums.iter_mut().zip(&zeros) {
                    *sum += middle * *n as f64;
                }
            } else {
                run(&listed[negative..], &mut tied);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Indices, ValuesRef};

    proptest! {
        #[test]
        fn ranks_are_those_of_the_sorted_column(
            column in prop::collection::vec((-2i32..3, -1i32..2), 1..30)
        ) {
            let groups: Vec<i32> = column.iter().map(|(_, g)| *g).collect();
            let listed = column.iter().enumerate().filter(|(_, (v, _))| *v != 0);
            let indices: Vec<i32> = listed.clone().map(|(row, _)| row as i32).collect();
            let data: Vec<i32> = listed.map(|(_, (v, _))| *v).collect();
            let indptr = [0, data.len() as i64];
            let block = Block::new(
                Indices::I64(&indptr), &indices, ValuesRef::I32(&data), column.len(),
            ).unwrap();
            let found = rank_sums(&block, &groups, 2).unwrap();
            let taken: Vec<_> = column.iter().filter(|(_, g)| *g >= 0).collect();
            let rank = |value: i32| {
                let less = taken.iter().filter(|(v, _)| *v < value).count() as f64;
                let same = taken.iter().filter(|(v, _)| *v == value).count() as f64;
                less + (same + 1.0) / 2.0
            };
            for group in 0..2 {
                let of_group = taken.iter().filter(|(_, g)| *g == group);
                prop_assert_eq!(found.sums[group as usize], of_group.map(|(v, _)| rank(*v)).sum::<f64>());
            }
            let ties: f64 = (-2..3).map(|value| {
                let t = taken.iter().filter(|(v, _)| *v == value).count() as f64;
                t * t * t - t
            }).sum();
            prop_assert_eq!(found.ties[0], ties);
        }
    }
}
