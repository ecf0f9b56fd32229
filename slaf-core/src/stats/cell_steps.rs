//! Applies pending steps to single values, which arrive gene by gene.

use std::collections::HashMap;

use super::steps::Step;
use crate::{Result, ValueType};

/// The results of counts below this are computed once for all cells with the same
/// factors.
const KNOWN: usize = 16;
/// Maximum size of these results in bytes.
const KNOWN_BYTES: usize = 64 << 20;

/// The steps of a matrix. The results are the same as those of [`super::apply`].
#[derive(Debug)]
pub(super) struct CellSteps {
    steps: Vec<Step>,
    /// Whether results are float64, not float32.
    wide: bool,
    /// The number of each cell's kind. Cells of the same kind have the same factors.
    kind: Vec<u32>,
    /// The results of counts below `counts`: kinds × counts.
    known: Vec<f64>,
    counts: usize,
}

impl CellSteps {
    /// The steps of a matrix with `genes` columns. `places` has the row of each cell in
    /// it, or -1 if the cell is not in the matrix.
    pub(super) fn new(
        steps: Vec<Step>,
        dtype: ValueType,
        places: &[i32],
        genes: usize,
    ) -> Result<Self> {
        let rows = places.iter().filter(|place| **place >= 0).count();
        for step in &steps {
            step.check(rows, genes)?;
        }
        let steps: Vec<Step> = steps.into_iter().map(|step| step.placed(places)).collect();
        let (kind, firsts) = match steps.iter().any(Step::of_column) {
            true => (vec![], vec![]),
            false => kinds(&steps, places.len()),
        };
        let fit = KNOWN_BYTES / size_of::<f64>() / firsts.len().max(1);
        let mut made = Self {
            steps,
            wide: dtype == ValueType::F64,
            kind,
            known: vec![],
            counts: if firsts.is_empty() { 0 } else { fit.min(KNOWN) },
        };
        let counts = 0..made.counts;
        let known = firsts
            .iter()
            .flat_map(|cell| counts.clone().map(|n| (n as f64, *cell)));
        made.known = known
            .map(|(count, cell)| made.compute(count, cell, 0))
            .collect();
        Ok(made)
    }

    /// Applies the steps to the `values` of a gene in these cells. `kinds` is memory for
    /// the call.
    pub(super) fn apply(
        &self,
        gene: usize,
        cells: &[u32],
        values: &mut [f64],
        kinds: &mut Vec<u32>,
    ) {
        kinds.clear();
        if self.counts > 0 {
            // A loop of its own, as for the groups of cells.
            kinds.extend(cells.iter().map(|cell| self.kind[*cell as usize]));
        } else {
            kinds.resize(cells.len(), 0);
        }
        for ((value, cell), kind) in values.iter_mut().zip(cells).zip(kinds) {
            let count = *value as usize;
            *value = if count < self.counts && count as f64 == *value {
                self.known[*kind as usize * self.counts + count]
            } else {
                self.compute(*value, *cell as usize, gene)
            };
        }
    }

    fn compute(&self, value: f64, cell: usize, gene: usize) -> f64 {
        let rounded = |value: f64| {
            if self.wide {
                value
            } else {
                f64::from(value as f32)
            }
        };
        let step = |value, step: &Step| rounded(step.of(value, cell, gene));
        self.steps.iter().fold(rounded(value), step)
    }
}

/// The kind of each cell, and the first cell of each kind.
fn kinds(steps: &[Step], cells: usize) -> (Vec<u32>, Vec<usize>) {
    let (mut kind, mut firsts) = (vec![0u32; cells], vec![0]);
    for factors in steps.iter().filter_map(Step::of_rows) {
        let mut found = HashMap::new();
        firsts.clear();
        for (cell, kind) in kind.iter_mut().enumerate() {
            let same = (*kind, factors[cell].to_bits());
            *kind = *found.entry(same).or_insert_with(|| {
                firsts.push(cell);
                firsts.len() as u32 - 1
            });
        }
    }
    (kind, firsts)
}
