//! Sums of groups of cells, gene by gene: counts, totals, squared deviations, and the
//! sums of ranks and ties of the Wilcoxon test.

use std::ops::Range;

use rayon::prelude::*;

use super::block::{Block, Visit, visit, wrong_length};
use super::ranks::Ranks;
use crate::Result;
use crate::matrix::values::Value;

/// The group of each cell.
#[derive(Debug, Clone)]
pub struct Groups {
    /// The group of each cell, -1 for none.
    of: Vec<i32>,
    /// The number of cells of each group.
    sizes: Vec<u64>,
}

/// The group -1 as u32.
const NO_GROUP: u32 = u32::MAX;

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
    /// All cells that have a group.
    All,
    /// The cells of each group together with those of this group.
    With(usize),
}

/// Sums of groups × genes (group-major); empty if they are not wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupSums {
    pub totals: Vec<f64>,
    pub nonzero: Vec<u32>,
    /// Squared deviations from the group's mean.
    pub squares: Vec<f64>,
    /// Sums of ranks, which count from 1. Tied values have their mean rank.
    pub ranks: Vec<f64>,
    /// t³ − t, summed over the ties of t values: one number per gene with
    /// [`Ranking::All`], groups × genes with [`Ranking::With`].
    pub ties: Vec<f64>,
}

/// The same sums for consecutive genes, as genes × groups.
#[derive(Debug, Default)]
pub(super) struct SumsOfGenes {
    totals: Vec<f64>,
    nonzero: Vec<u32>,
    squares: Vec<f64>,
    ranks: Vec<f64>,
    ties: Vec<f64>,
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

    /// The groups of other cells. `places` has the place of each of them among these
    /// cells, or -1.
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
    /// The sums of consecutive genes, side by side.
    pub(super) fn beside(parts: &[SumsOfGenes], groups: usize, wanted: Wanted) -> Self {
        Self {
            totals: beside(parts, groups, |part| &part.totals),
            nonzero: beside(parts, groups, |part| &part.nonzero),
            squares: beside(parts, groups, |part| &part.squares),
            ranks: beside(parts, groups, |part| &part.ranks),
            ties: match wanted.ranks {
                Some(Ranking::With(_)) => beside(parts, groups, |part| &part.ties),
                Some(Ranking::All) | None => beside(parts, 1, |part| &part.ties),
            },
        }
    }

    /// Sums of the columns of a CSC matrix.
    pub fn of_columns(columns: &Block<'_>, groups: &Groups, wanted: Wanted) -> Result<Self> {
        if groups.cells() != columns.width {
            return Err(wrong_length("groups", groups.cells(), columns.width));
        }
        let n = columns.rows();
        let share = n.div_ceil(rayon::current_num_threads()).max(1);
        let starts: Vec<usize> = (0..n).step_by(share).collect();
        let sum = |first| {
            let part = first..n.min(first + share);
            visit(columns, OfColumns(part, GeneByGene::new(groups, wanted)))
        };
        let parts: Vec<_> = starts.into_par_iter().map(sum).collect();
        Ok(Self::beside(&parts, groups.len(), wanted))
    }
}

/// Transposes parts of genes × groups to groups × genes. As many groups are copied
/// together as fit into a line of the cache.
fn beside<T: Copy + Default + Send + Sync>(
    parts: &[SumsOfGenes],
    groups: usize,
    of: impl Fn(&SumsOfGenes) -> &[T] + Sync,
) -> Vec<T> {
    const LINE: usize = 8;
    let genes = parts.iter().map(|part| of(part).len()).sum::<usize>() / groups.max(1);
    let mut all = vec![T::default(); groups * genes];
    let lines = all.par_chunks_mut((LINE * genes).max(1)).enumerate();
    lines.for_each(|(line, rows)| {
        let of_genes = parts.iter().flat_map(|part| of(part).chunks(groups.max(1)));
        for (gene, of_gene) in of_genes.enumerate() {
            for (row, value) in of_gene[line * LINE..].iter().take(LINE).enumerate() {
                rows[row * genes + gene] = *value;
            }
        }
    });
    all
}

struct OfColumns<'a>(Range<usize>, GeneByGene<'a>);

impl Visit for OfColumns<'_> {
    type Output = SumsOfGenes;

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) -> SumsOfGenes {
        let Self(columns, mut sums) = self;
        for column in columns {
            let span = block.span(column);
            let cells = block.indices[span.clone()].iter();
            let values = data[span].iter().map(|value| value.to_f64());
            sums.add(cells.map(|cell| *cell as usize), values);
            sums.end_gene();
        }
        sums.found
    }
}

/// Sums genes one after the other. The sums of a gene do not depend on what was
/// summed before.
pub(super) struct GeneByGene<'a> {
    groups: &'a Groups,
    wanted: Wanted,
    found: SumsOfGenes,
    /// The number of finished genes.
    ended: usize,
    /// The nonzero values of the current gene, in the order of the cells, and their
    /// groups.
    values: Vec<f64>,
    of: Vec<u32>,
    /// The sums of each group for the current gene.
    totals: Vec<f64>,
    nonzero: Vec<u64>,
    squares: Vec<f64>,
    ranks: Ranks,
}

impl<'a> GeneByGene<'a> {
    pub(super) fn new(groups: &'a Groups, wanted: Wanted) -> Self {
        let n = groups.len();
        Self {
            groups,
            wanted,
            found: SumsOfGenes::default(),
            ended: 0,
            values: vec![],
            of: vec![],
            totals: vec![0.0; n],
            nonzero: vec![0; n],
            squares: vec![0.0; n],
            ranks: Ranks::new(n),
        }
    }

    /// Adds cells and their values to the current gene.
    pub(super) fn add(
        &mut self,
        cells: impl ExactSizeIterator<Item = usize>,
        values: impl Iterator<Item = f64>,
    ) {
        // A loop of its own: the groups of millions of cells are in no cache, and the
        // processor waits for many of them at the same time only if it does nothing else.
        let mut end = self.of.len();
        self.of
            .extend(cells.map(|cell| self.groups.of[cell] as u32));
        self.values.resize(self.of.len(), 0.0);
        // Every value is written. If it does not count, the next value overwrites it.
        // This avoids a branch per value, which would often be mispredicted.
        for (at, value) in (end..self.of.len()).zip(values) {
            let group = self.of[at];
            self.values[end] = value;
            self.of[end] = group;
            end += usize::from((group != NO_GROUP) & (value != 0.0));
        }
        self.values.truncate(end);
        self.of.truncate(end);
    }

    /// Finishes genes until `gene` is the current one.
    pub(super) fn end_until(&mut self, gene: usize) {
        while self.ended < gene {
            self.end_gene();
        }
    }

    /// The sums of `genes` genes.
    pub(super) fn finish(mut self, genes: usize) -> SumsOfGenes {
        self.end_until(genes);
        self.found
    }

    fn end_gene(&mut self) {
        self.totals.fill(0.0);
        self.nonzero.fill(0);
        for (group, value) in self.of.iter().zip(&self.values) {
            self.totals[*group as usize] += value;
            self.nonzero[*group as usize] += 1;
        }
        self.found.totals.extend_from_slice(&self.totals);
        if self.wanted.nonzero {
            let nonzero = self.nonzero.iter().map(|n| *n as u32);
            self.found.nonzero.extend(nonzero);
        }
        if self.wanted.squares {
            self.sum_squares();
            self.found.squares.extend_from_slice(&self.squares);
        }
        if let Some(ranking) = self.wanted.ranks {
            self.sum_ranks(ranking);
        }
        self.values.clear();
        self.of.clear();
        self.ended += 1;
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
        let (values, of, zeros) = (&self.values, &self.of, &self.nonzero);
        match ranking {
            Ranking::All => {
                let ties = self.ranks.of_all(values, of, zeros);
                self.found.ties.push(ties as f64);
            }
            Ranking::With(reference) => {
                let ties = self.ranks.with(reference, values, of, zeros);
                self.found.ties.extend(ties.iter().map(|ties| *ties as f64));
            }
        }
        let ranks = self.ranks.doubled().iter().map(|ranks| *ranks as f64 / 2.0);
        self.found.ranks.extend(ranks);
    }
}
