//! Random batches of cells, epoch after epoch. Blocks of neighbouring cells are
//! drawn from everywhere, read together into a buffer, and leave it in random
//! order: close to a true shuffle, at the speed of reading large ranges.

mod buffer;
mod order;
mod stream;

use std::sync::Arc;

use self::order::Order;
pub use self::stream::Batches;
use crate::random::Random;
use crate::tokens::{Tokenizer, Tokens};
use crate::{Csr, Dataset, Error, Result, ValueType};

/// A dataset, or a part of it, to draw cells from. It is read as it was opened,
/// whatever is appended meanwhile.
pub struct Source {
    pub dataset: Dataset,
    /// Ascending; `None` for all.
    pub cells: Option<Vec<u64>>,
    /// What batches are made of.
    pub content: Content,
}

/// What batches hold of a source's cells.
#[derive(Clone)]
pub enum Content {
    Tokens(Arc<dyn Tokenizer>),
    /// Rows of a CSR matrix of `width` columns.
    Rows {
        /// The column of each gene, -1 for genes that are left out; `None`
        /// where they are the same.
        columns: Option<Arc<[i32]>>,
        width: usize,
        dtype: ValueType,
    },
}

/// Which cells come, and in which order. Positions count the cells of the
/// sources, one after the other.
pub struct Plan {
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

/// Some cells.
#[derive(Debug)]
pub struct Batch {
    pub epoch: u64,
    /// Which of the epoch's batches.
    pub index: u64,
    /// Positions of its cells, and their numbers in their datasets.
    pub positions: Vec<i64>,
    pub cells: Vec<i64>,
    pub made: Made,
}

#[derive(Debug)]
pub enum Made {
    Tokens(Tokens),
    Rows(Csr),
}

/// Batches of some sources.
#[derive(Clone)]
pub struct Loader {
    inner: Arc<Inner>,
}

struct Inner {
    sources: Vec<Source>,
    /// The first position of each source, and the end of the last.
    starts: Vec<u64>,
    order: Order,
    batch: usize,
    drop_last: bool,
    ahead: usize,
    seed: u64,
}

impl Loader {
    /// # Errors
    ///
    /// A cell is out of bounds, a weight is negative or all of them are 0, or a
    /// number that must be positive is 0.
    pub fn new(sources: Vec<Source>, plan: Plan) -> Result<Self> {
        for (what, number) in [
            ("batch", plan.batch),
            ("block", plan.block),
            ("buffer", plan.buffer),
            ("world", plan.world as usize),
        ] {
            if number == 0 {
                return Err(wrong(format!("The size of the {what} is 0.")));
            }
        }
        if plan.rank >= plan.world {
            return Err(wrong(format!(
                "Rank {} is not among {} processes, which count from 0.",
                plan.rank, plan.world
            )));
        }
        let mut starts = vec![0];
        for source in &sources {
            let n = source.dataset.shape().0;
            if let Some(cells) = &source.cells {
                if let Some(index) = cells.iter().copied().find(|cell| *cell >= n) {
                    return Err(Error::OutOfBounds {
                        axis: "cell",
                        index,
                        len: n,
                    });
                }
                if cells.windows(2).any(|pair| pair[0] >= pair[1]) {
                    return Err(wrong("The cells of a loader do not ascend.".into()));
                }
            }
            let len = source.cells.as_ref().map_or(n, |cells| cells.len() as u64);
            starts.push(starts[starts.len() - 1] + len);
        }
        let n = starts[sources.len()];
        Ok(Self {
            inner: Arc::new(Inner {
                batch: plan.batch,
                drop_last: plan.drop_last,
                ahead: plan.ahead.max(1),
                seed: plan.seed,
                order: Order::new(n, plan)?,
                sources,
                starts,
            }),
        })
    }

    /// Cells of an epoch of this rank.
    pub fn cells(&self) -> u64 {
        let (cells, batch) = (self.inner.order.len(), self.inner.batch as u64);
        if self.inner.drop_last {
            cells / batch * batch
        } else {
            cells
        }
    }

    /// Batches of an epoch of this rank.
    pub fn batches(&self) -> u64 {
        self.cells().div_ceil(self.inner.batch as u64)
    }

    /// The batches of `epochs` epochs from `epoch` on, without the first
    /// `skipped` of the first.
    pub fn start(&self, epoch: u64, skipped: u64, epochs: u64) -> Batches {
        Batches::start(self.clone(), epoch, skipped, epochs)
    }

    /// Random numbers of one cell in one epoch.
    fn random(&self, epoch: u64, batch: u64, row: usize) -> Random {
        let rank = self.inner.order.rank();
        Random::of(&[self.inner.seed, epoch, rank, batch, row as u64])
    }
}

fn wrong(message: String) -> Error {
    Error::Engine { message }
}
