//! Which cells an epoch delivers, and in which order. Everything follows from the
//! seed, the epoch and the rank, so reading can start anywhere in an epoch.

use std::ops::Range;

use super::batch_plan::{BatchPlan, wrong};
use crate::{Random, Result};

/// The order of all epochs.
pub(super) struct Order {
    plan: BatchPlan,
    /// Number of positions.
    n: u64,
    /// Cumulative sums of the weights.
    cumulated: Option<Vec<f64>>,
}

impl Order {
    pub(super) fn new(n: u64, mut plan: BatchPlan) -> Result<Self> {
        // Buffers contain whole batches, so that a batch can be found by its number.
        plan.buffer = plan.buffer.next_multiple_of(plan.batch);
        for (what, len) in [
            ("weights", plan.weights.as_ref().map(Vec::len)),
            ("strata", plan.strata.as_ref().map(Vec::len)),
        ] {
            if len.is_some_and(|len| len as u64 != n) {
                return Err(wrong(format!(
                    "There are {} {what} for {n} cells.",
                    len.unwrap_or(0)
                )));
            }
        }
        let cumulated = plan.weights.take().map(|weights| {
            let mut sum = 0.0;
            weights
                .into_iter()
                .map(|weight| {
                    if !(0.0..f64::INFINITY).contains(&weight) {
                        return Err(wrong(format!(
                            "A weight is {weight}, which is not a positive number."
                        )));
                    }
                    sum += weight;
                    Ok(sum)
                })
                .collect::<Result<Vec<f64>>>()
        });
        let cumulated = cumulated.transpose()?;
        if cumulated
            .as_ref()
            .is_some_and(|sums| sums.last().is_some_and(|sum| *sum == 0.0))
        {
            return Err(wrong(
                "All weights are 0, so there is nothing to draw.".into(),
            ));
        }
        Ok(Self { plan, n, cumulated })
    }

    pub(super) fn rank(&self) -> u64 {
        self.plan.rank
    }

    /// Number of cells of this rank in an epoch. All ranks have the same
    /// number, so that none waits for another; up to one less than the number
    /// of ranks are left out.
    pub(super) fn len(&self) -> u64 {
        let all = match &self.cumulated {
            Some(_) if self.n > 0 => self.plan.draws.unwrap_or(self.n),
            _ => self.n,
        };
        all / self.plan.world
    }

    pub(super) fn buffers(&self) -> u64 {
        self.len().div_ceil(self.plan.buffer as u64)
    }

    /// Number of batches in a full buffer.
    pub(super) fn batches_of_buffer(&self) -> u64 {
        (self.plan.buffer / self.plan.batch) as u64
    }

    pub(super) fn epoch(&self, epoch: u64) -> Epoch<'_> {
        let mut random = Random::of(&[self.plan.seed, epoch]);
        let block = self.plan.block as u64;
        // The starts of blocks differ from epoch to epoch, which separates neighbours.
        let shift = if self.plan.shuffle {
            random.below(self.plan.block) as u64
        } else {
            0
        };
        let n_blocks = if self.n == 0 {
            0
        } else {
            (self.n + shift).div_ceil(block)
        };
        let mut blocks: Vec<u32> = (0..n_blocks as u32).collect();
        if self.plan.shuffle {
            random.shuffle(&mut blocks);
        }
        let mut starts = Vec::with_capacity(blocks.len() + 1);
        let mut epoch = Epoch {
            order: self,
            number: epoch,
            shift,
            blocks,
            starts: vec![],
        };
        starts.push(0);
        for at in 0..epoch.blocks.len() {
            let cells = epoch.cells_of(epoch.blocks[at]);
            starts.push(starts[at] + (cells.end - cells.start));
        }
        epoch.starts = starts;
        epoch
    }
}

/// The order of one epoch.
pub(super) struct Epoch<'a> {
    order: &'a Order,
    number: u64,
    shift: u64,
    /// In the order of reading.
    blocks: Vec<u32>,
    /// Number of cells before each block.
    starts: Vec<u64>,
}

impl Epoch<'_> {
    /// The positions in a buffer, in the order in which they leave it.
    pub(super) fn buffer(&self, buffer: u64) -> Vec<u64> {
        let Order {
            plan, cumulated, ..
        } = self.order;
        let first = buffer * plan.buffer as u64;
        let end = (first + plan.buffer as u64).min(self.order.len());
        let mut random = Random::of(&[plan.seed, self.number, plan.rank, buffer]);
        let mut positions = match cumulated {
            Some(sums) => self.draw(sums, (end - first) as usize, &mut random),
            None => {
                let before = plan.rank * self.order.len();
                self.span(before + first..before + end)
            }
        };
        if plan.shuffle {
            random.shuffle(&mut positions);
        }
        if let Some(strata) = &plan.strata {
            positions = spread(&positions, strata);
        }
        positions
    }

    fn cells_of(&self, block: u32) -> Range<u64> {
        let (size, shift) = (self.order.plan.block as u64, self.shift);
        let first = u64::from(block) * size;
        first.saturating_sub(shift)..(first + size - shift).min(self.order.n)
    }

    /// The cells at these places in the sequence of blocks.
    fn span(&self, places: Range<u64>) -> Vec<u64> {
        let mut cells = Vec::with_capacity((places.end - places.start) as usize);
        let mut at = self.starts.partition_point(|start| *start <= places.start) - 1;
        let mut place = places.start;
        while place < places.end {
            let block = self.cells_of(self.blocks[at]);
            let from = block.start + (place - self.starts[at]);
            let n = (block.end - from).min(places.end - place);
            cells.extend(from..from + n);
            place += n;
            at += 1;
        }
        cells
    }

    /// Draws blocks by their weight, and cells of each block by theirs. Each
    /// draw has the probability of the cell's weight, and blocks are still read
    /// as a whole.
    fn draw(&self, sums: &[f64], n: usize, random: &mut Random) -> Vec<u64> {
        let block = self.order.plan.block;
        let mut cells = Vec::with_capacity(n);
        while cells.len() < n {
            let one = random.weighted(sums, 0..sums.len()) as u64;
            let among = self.cells_of(((one + self.shift) / block as u64) as u32);
            let among = among.start as usize..among.end as usize;
            for _ in 0..block.min(n - cells.len()) {
                cells.push(random.weighted(sums, among.clone()) as u64);
            }
        }
        cells
    }
}

/// Spreads each stratum evenly; within a stratum, cells keep their order.
fn spread(positions: &[u64], strata: &[u32]) -> Vec<u64> {
    let mut sizes = std::collections::HashMap::new();
    for position in positions {
        *sizes.entry(strata[*position as usize]).or_insert(0u64) += 1;
    }
    let mut seen = std::collections::HashMap::new();
    let mut keyed: Vec<(f64, u64)> = positions
        .iter()
        .map(|position| {
            let stratum = strata[*position as usize];
            let nth = seen.entry(stratum).or_insert(0u64);
            *nth += 1;
            ((*nth as f64 - 0.5) / sizes[&stratum] as f64, *position)
        })
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    keyed.into_iter().map(|(_, position)| position).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(batch: usize, block: usize, buffer: usize, seed: u64) -> BatchPlan {
        BatchPlan {
            batch,
            drop_last: false,
            seed,
            shuffle: true,
            block,
            buffer,
            weights: None,
            draws: None,
            strata: None,
            rank: 0,
            world: 1,
            ahead: 1,
        }
    }

    fn cells(order: &Order, epoch: u64) -> Vec<u64> {
        let epoch = order.epoch(epoch);
        (0..order.buffers())
            .flat_map(|buffer| epoch.buffer(buffer))
            .collect()
    }

    proptest! {
        #[test]
        fn an_epoch_has_every_cell_once_over_all_ranks(
            n in 0u64..400, batch in 1usize..20, block in 1usize..20, buffer in 1usize..100,
            world in 1u64..5, seed in 0u64..9,
        ) {
            let mut all = vec![];
            for rank in 0..world {
                let plan = BatchPlan { rank, world, ..plan(batch, block, buffer, seed) };
                let order = Order::new(n, plan).unwrap();
                let mine = cells(&order, 3);
                prop_assert_eq!(mine.len() as u64, n / world);
                prop_assert_eq!(&mine, &cells(&order, 3));
                all.extend(mine);
            }
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len() as u64, n / world * world);
            prop_assert!(all.iter().all(|cell| *cell < n));
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_without_shuffling_cells_come_as_stored() {
        let order = Order::new(100, plan(10, 4, 40, 0)).unwrap();
        assert_ne!(cells(&order, 0), cells(&order, 1));
        let other = Order::new(100, plan(10, 4, 40, 1)).unwrap();
        assert_ne!(cells(&order, 0), cells(&other, 0));
        let stored = BatchPlan {
            shuffle: false,
            ..plan(10, 4, 40, 0)
        };
        let stored = Order::new(100, stored).unwrap();
        assert_eq!(cells(&stored, 5), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn draws_follow_the_weights() {
        let weights: Vec<f64> = (0..50).map(|cell| f64::from(cell % 5)).collect();
        let plan = BatchPlan {
            weights: Some(weights.clone()),
            draws: Some(100_000),
            ..plan(10, 4, 1000, 0)
        };
        let order = Order::new(50, plan).unwrap();
        let mut seen = [0.0; 50];
        cells(&order, 0)
            .iter()
            .for_each(|cell| seen[*cell as usize] += 1.0);
        for (cell, weight) in weights.iter().enumerate() {
            let expected = weight / 100.0 * 100_000.0;
            // The four draws from one block are not independent, so they count as one.
            assert!(
                f64::abs(seen[cell] - expected) <= 6.0 * f64::sqrt(4.0 * expected),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn every_batch_has_its_share_of_a_stratum() {
        let strata: Vec<u32> = (0..1000).map(|cell| u32::from(cell % 10 == 0)).collect();
        let plan = BatchPlan {
            strata: Some(strata.clone()),
            ..plan(50, 8, 1000, 0)
        };
        let order = Order::new(1000, plan).unwrap();
        for batch in cells(&order, 0).chunks(50) {
            let rare = batch
                .iter()
                .filter(|cell| strata[**cell as usize] == 1)
                .count();
            assert_eq!(rare, 5);
        }
    }
}
