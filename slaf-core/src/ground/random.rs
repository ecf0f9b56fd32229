//! Random numbers that a seed reproduces on every machine and in every version:
//! SplitMix64 (Steele, Lea and Flood, 2014).

use std::ops::Range;

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A number made by mixing the seed.
pub(crate) fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of these seeds, in this order.
    pub fn of(seeds: &[u64]) -> Self {
        Self(
            seeds
                .iter()
                .fold(0, |state, seed| mixed(state ^ mixed(*seed))),
        )
    }

    fn next(&mut self) -> u64 {
        let number = mixed(self.0);
        self.0 = self.0.wrapping_add(STEP);
        number
    }

    /// Uniform below `n`, which is not 0 (Lemire's multiplication: the bias is
    /// below 2⁻³² for fewer than 2³² choices).
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        let n = items.len();
        self.draw(items, n);
    }

    /// Moves a random `n` of `items`, in random order, to the front.
    pub(crate) fn draw<T>(&mut self, items: &mut [T], n: usize) {
        for at in 0..n.min(items.len()) {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
    }

    /// Draws an index from `among`, with weights whose cumulative sums are
    /// `cumulated`.
    pub(crate) fn weighted(&mut self, cumulated: &[f64], among: Range<usize>) -> usize {
        let before = if among.start == 0 {
            0.0
        } else {
            cumulated[among.start - 1]
        };
        let goal = before + self.unit() * (cumulated[among.end - 1] - before);
        let found = among.start + cumulated[among.clone()].partition_point(|sum| *sum <= goal);
        found.min(among.end - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_of_different_items_and_uniform() {
        let mut random = Random::of(&[1, 2]);
        let mut seen = [0; 10];
        for _ in 0..20_000 {
            let mut items: Vec<usize> = (0..10).collect();
            random.draw(&mut items, 3);
            let mut drawn = items[..3].to_vec();
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 3);
            drawn.iter().for_each(|item| seen[*item] += 1);
        }
        // 6,000 each; five standard deviations of a binomial are 325.
        assert!(seen.iter().all(|n| (5_675..6_325).contains(n)), "{seen:?}");
    }

    #[test]
    fn weights_are_kept_and_what_weighs_nothing_never_comes() {
        let cumulated = [0.0, 1.0, 1.0, 4.0];
        let mut random = Random::of(&[7]);
        let mut seen = [0; 4];
        for _ in 0..20_000 {
            seen[random.weighted(&cumulated, 0..4)] += 1;
        }
        assert_eq!((seen[0], seen[2]), (0, 0));
        assert!((4_690..5_310).contains(&seen[1]), "{seen:?}");
        assert_eq!(random.weighted(&cumulated, 3..4), 3);
    }
}
