//! A loader: its sources, and the order of their cells.

use std::sync::Arc;

use super::batch_plan::{BatchPlan, wrong};
use super::epoch_order::Order;
use super::source::Source;
use crate::{Error, Random, Result};

/// A loader: batches from several sources.
#[derive(Clone)]
pub struct Loader {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) sources: Vec<Source>,
    /// The first position of each source, and the end of the last.
    pub(super) starts: Vec<u64>,
    pub(super) order: Order,
    pub(super) batch: usize,
    drop_last: bool,
    pub(super) ahead: usize,
    seed: u64,
}

impl Loader {
    /// # Errors
    ///
    /// A cell is out of bounds, a weight is negative or all of them are 0, or a
    /// number that must be positive is 0.
    pub fn new(sources: Vec<Source>, plan: BatchPlan) -> Result<Self> {
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
                    return Err(wrong(
                        "The cells of a loader must ascend, without repeats.".into(),
                    ));
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

    /// Number of cells of this rank in an epoch.
    pub fn cells(&self) -> u64 {
        let (cells, batch) = (self.inner.order.len(), self.inner.batch as u64);
        if self.inner.drop_last {
            cells / batch * batch
        } else {
            cells
        }
    }

    /// Number of batches of this rank in an epoch.
    pub fn batches(&self) -> u64 {
        self.cells().div_ceil(self.inner.batch as u64)
    }

    /// The random numbers of one cell in one epoch.
    pub(super) fn random(&self, epoch: u64, batch: u64, row: usize) -> Random {
        let rank = self.inner.order.rank();
        Random::of(&[self.inner.seed, epoch, rank, batch, row as u64])
    }
}
