//! Sums of groups of cells, gene by gene: counts, totals, squared deviations, and the
//! sums of ranks and ties of the Wilcoxon test.

use std::thread;

use super::block::{Block, Visit, visit, wrong_length};
use super::ranks::Ranks;
use crate::Result;
use crate::matrix::values::Value;

/// The group of each cell.
#[derive(Debug, Clone)]
pub struct Groups {
    /// -1: none.
    of: Vec<i32>,
    /// Cells of each group.
    sizes: Vec<u64>,
}

/// What is computed besides the totals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    pub nonzero: bool,
    pub squares: bool,
    pub ranks: Option<Ranking>,
}

/// Which cells are ranked together.
#[derive(Debug, Clone, Copy)]
pub enum Ranking {
    /// All that have a group.
    All,
    /// Those of each group with those of this one.
    With(usize),
}

/// Sums of some genes, groups × genes (group-major); empty if they are not wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupSums {
    pub genes: usize,
    pub totals: Vec<f64>,
    pub nonzero: Vec<u32>,
    /// Squared deviations from the group's mean.
    pub squares: Vec<f64>,
    /// Ranks from 1, of ties their mean.
    pub ranks: Vec<f64>,
    /// t³ − t, summed over the ties of t values: of each gene, or groups × genes if
    /// each group is ranked for itself.
    pub ties: Vec<f64>,
}

impl Groups {
    pub fn new(of: Vec<i32>, n: usize) -> Result<Self> {
        let mut sizes = vec![0; n];
        for group in of.iter().filter(|group| **group >= 0) {
            match sizes.get_mut(*group as usize) {
                Some(size) => *size += 1,
                None => return Err(wrong_length("groups", *group as usize + 1, n)),
            }
        }
        Ok(Self { of, sizes })
    }

    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    pub fn cells(&self) -> usize {
        self.of.len()
    }

    /// The same for cells of which each has a place among these, or -1.
    pub(super) fn placed(&self, places: &[i32]) -> Result<Self> {
        let chosen = places.iter().filter(|place| **place >= 0).count();
        if chosen != self.of.len() {
            return Err(wrong_length("groups", self.of.len(), chosen));
        }
        let group = |place: &i32| usize::try_from(*place).map_or(-1, |place| self.of[place]);
        Ok(Self {
            of: places.iter().map(group).collect(),
            sizes: self.sizes.clone(),
        })
    }
}

impl GroupSums {
    fn new(genes: usize, groups: usize, wanted: Wanted) -> Self {
        let all = groups * genes;
        let of = |wanted: bool, n: usize| if wanted { n } else { 0 };
        let ties = match wanted.ranks {
            None => 0,
            Some(Ranking::All) => genes,
            Some(Ranking::With(_)) => all,
        };
        Self {
            genes,
            totals: vec![0.0; all],
            nonzero: vec![0; of(wanted.nonzero, all)],
            squares: vec![0.0; of(wanted.squares, all)],
            ranks: vec![0.0; of(wanted.ranks.is_some(), all)],
            ties: vec![0.0; ties],
        }
    }

    /// The sums of consecutive genes, side by side.
    pub(super) fn beside(parts: &[Self], groups: usize) -> Self {
        let genes = parts.iter().map(|part| part.genes).sum();
        Self {
            genes,
            totals: beside(parts, groups, |part| &part.totals),
            nonzero: beside(parts, groups, |part| &part.nonzero),
            squares: beside(parts, groups, |part| &part.squares),
            ranks: beside(parts, groups, |part| &part.ranks),
            ties: match parts.iter().all(|part| part.ties.len() == part.genes) {
                true => beside(parts, 1, |part| &part.ties),
                false => beside(parts, groups, |part| &part.ties),
            },
        }
    }

    /// Sums of the columns of a CSC matrix.
    pub fn of_columns(columns: &Block<'_>, groups: &Groups, wanted: Wanted) -> Result<Self> {
        if groups.cells() != columns.width {
            return Err(wrong_length("groups", groups.cells(), columns.width));
        }
        let n = columns.rows();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = n.div_ceil(threads).max(1);
        let parts = thread::scope(|scope| {
            let starts = (0..n).step_by(share);
            let spawned: Vec<_> = starts
                .map(|first| {
                    let sums = SumsOfGenes::new(share.min(n - first), groups, wanted);
                    scope.spawn(move || visit(columns, OfColumns { first, sums }))
                })
                .collect();
            let joined = spawned.into_iter().map(|thread| thread.join());
            joined.collect::<thread::Result<Vec<_>>>()
        });
        match parts {
            Ok(parts) => Ok(Self::beside(&parts, groups.len())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn beside<T: Copy>(parts: &[GroupSums], rows: usize, of: fn(&GroupSums) -> &[T]) -> Vec<T> {
    let mut all = Vec::with_capacity(parts.iter().map(|part| of(part).len()).sum());
    for row in 0..rows {
        for part in parts.iter().filter(|part| !of(part).is_empty()) {
            all.extend_from_slice(&of(part)[row * part.genes..(row + 1) * part.genes]);
        }
    }
    all
}

struct OfColumns<'a> {
    first: usize,
    sums: SumsOfGenes<'a>,
}

impl Visit for OfColumns<'_> {
    type Output = GroupSums;

    fn visit<T: Value>(mut self, block: &Block<'_>, data: &[T]) -> GroupSums {
        for column in 0..self.sums.genes() {
            let span = block.span(self.first + column);
            let cells = block.indices[span.clone()]
                .iter()
                .map(|cell| *cell as usize);
            self.sums
                .add(cells.zip(data[span].iter().map(|value| value.to_f64())));
            self.sums.end_gene();
        }
        self.sums.finish()
    }
}

/// Sums genes one after the other. The sums of a gene do not depend on what was
/// summed before.
pub(super) struct SumsOfGenes<'a> {
    groups: &'a Groups,
    wanted: Wanted,
    found: GroupSums,
    /// The current gene, its values other than zero in the order of the cells, and
    /// their groups.
    gene: usize,
    values: Vec<f64>,
    of: Vec<u32>,
    /// Of each group, for the current gene.
    totals: Vec<f64>,
    nonzero: Vec<u64>,
    squares: Vec<f64>,
    ranks: Ranks,
}

impl<'a> SumsOfGenes<'a> {
    pub(super) fn new(genes: usize, groups: &'a Groups, wanted: Wanted) -> Self {
        let n = groups.len();
        Self {
            groups,
            wanted,
            found: GroupSums::new(genes, n, wanted),
            gene: 0,
            values: vec![],
            of: vec![],
            totals: vec![0.0; n],
            nonzero: vec![0; n],
            squares: vec![0.0; n],
            ranks: Ranks::new(n),
        }
    }

    /// How many genes there are in all.
    pub(super) fn genes(&self) -> usize {
        self.found.genes
    }

    /// The current gene.
    pub(super) fn gene(&self) -> usize {
        self.gene
    }

    /// Adds cells and values to the current gene.
    pub(super) fn add(&mut self, of_cells: impl ExactSizeIterator<Item = (usize, f64)>) {
        // Every value is written, and the next one over it if it does not count: a branch
        // for each would be mispredicted.
        let mut end = self.values.len();
        self.values.resize(end + of_cells.len(), 0.0);
        self.of.resize(end + of_cells.len(), 0);
        for (cell, value) in of_cells {
            let group = self.groups.of[cell];
            self.values[end] = value;
            self.of[end] = group as u32;
            end += usize::from((group >= 0) & (value != 0.0));
        }
        self.values.truncate(end);
        self.of.truncate(end);
    }

    /// Sums the current gene; the next one begins.
    pub(super) fn end_gene(&mut self) {
        self.totals.fill(0.0);
        self.nonzero.fill(0);
        for (group, value) in self.of.iter().zip(&self.values) {
            self.totals[*group as usize] += value;
            self.nonzero[*group as usize] += 1;
        }
        let genes = self.found.genes;
        store(
            &mut self.found.totals[self.gene..],
            genes,
            &self.totals,
            |v| v,
        );
        if self.wanted.nonzero {
            let found = &mut self.found.nonzero[self.gene..];
            store(found, genes, &self.nonzero, |n| n as u32);
        }
        if self.wanted.squares {
            self.sum_squares();
            store(
                &mut self.found.squares[self.gene..],
                genes,
                &self.squares,
                |v| v,
            );
        }
        if let Some(ranking) = self.wanted.ranks {
            self.sum_ranks(ranking);
        }
        self.values.clear();
        self.of.clear();
        self.gene += 1;
    }

    fn sum_squares(&mut self) {
        let sizes = &self.groups.sizes;
        let mean = |total: f64, size: u64| if size > 0 { total / size as f64 } else { 0.0 };
        for (group, total) in self.totals.iter_mut().enumerate() {
            *total = mean(*total, sizes[group]);
            let zeros = (sizes[group] - self.nonzero[group]) as f64;
            self.squares[group] = zeros * *total * *total;
        }
        let means = &self.totals;
        for (group, value) in self.of.iter().zip(&self.values) {
            let deviation = value - means[*group as usize];
            self.squares[*group as usize] += deviation * deviation;
        }
    }

    fn sum_ranks(&mut self, ranking: Ranking) {
        for (zeros, size) in self.nonzero.iter_mut().zip(&self.groups.sizes) {
            *zeros = size - *zeros;
        }
        let (zeros, genes) = (&self.nonzero, self.found.genes);
        match ranking {
            Ranking::All => {
                let ties = self.ranks.of_all(&self.values, &self.of, zeros);
                self.found.ties[self.gene] = ties as f64;
            }
            Ranking::With(reference) => {
                let ties = self.ranks.with(reference, &self.values, &self.of, zeros);
                store(&mut self.found.ties[self.gene..], genes, ties, |t| t as f64);
            }
        }
        let ranks = self.ranks.doubled();
        store(&mut self.found.ranks[self.gene..], genes, ranks, |r| {
            r as f64 / 2.0
        });
    }

    /// The sums of all genes.
    pub(super) fn finish(mut self) -> GroupSums {
        while self.gene < self.found.genes {
            self.end_gene();
        }
        self.found
    }
}

/// Writes a column of a matrix with rows of `width`.
fn store<S: Copy, T>(found: &mut [T], width: usize, of_groups: &[S], as_found: impl Fn(S) -> T) {
    for (slot, value) in found.iter_mut().step_by(width).zip(of_groups) {
        *slot = as_found(*value);
    }
}
