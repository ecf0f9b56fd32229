//! The settings of a loader: batch size, shuffling, weights, ranks.

use crate::Error;

/// Which cells are delivered, and in which order. Positions count the cells of
/// all sources, one source after the other.
pub struct BatchPlan {
    pub batch: usize,
    /// Whether an incomplete last batch is left out.
    pub drop_last: bool,
    pub seed: u64,
    /// `false` for stored order.
    pub shuffle: bool,
    /// Number of neighbouring cells that are read together.
    pub block: usize,
    /// Number of cells that are shuffled together.
    pub buffer: usize,
    /// The weight of each position, for sampling with replacement; `None` if
    /// every cell is delivered once.
    pub weights: Option<Vec<f64>>,
    /// Samples per epoch with `weights`, of all ranks together.
    pub draws: Option<u64>,
    /// The stratum of each position; every batch contains a proportional share
    /// of each.
    pub strata: Option<Vec<u32>>,
    /// The number of this process, and how many there are.
    pub rank: u64,
    pub world: u64,
    /// Number of batches that are made ahead.
    pub ahead: usize,
}

pub(super) fn wrong(message: String) -> Error {
    Error::Engine { message }
}
