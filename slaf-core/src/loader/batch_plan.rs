//! The settings of a loader: batch size, shuffling, weights, ranks.

use crate::Error;

/// Which cells come, and in which order. Positions count the cells of the
/// sources, one after the other.
pub struct BatchPlan {
    pub batch: usize,
    /// Cells of a batch that is shorter than the others are left out.
    pub drop_last: bool,
    pub seed: u64,
    /// `false`: in stored order.
    pub shuffle: bool,
    /// Neighbouring cells that are read together.
    pub block: usize,
    /// Cells that are shuffled among each other.
    pub buffer: usize,
    /// How likely each position is drawn, with replacement; `None`: every cell
    /// comes once.
    pub weights: Option<Vec<f64>>,
    /// Draws of an epoch with `weights`, of all ranks together.
    pub draws: Option<u64>,
    /// The stratum of each position, of which every batch holds its share.
    pub strata: Option<Vec<u32>>,
    /// Which process this is, of how many.
    pub rank: u64,
    pub world: u64,
    /// Batches that are made ahead.
    pub ahead: usize,
}

pub(super) fn wrong(message: String) -> Error {
    Error::Engine { message }
}
