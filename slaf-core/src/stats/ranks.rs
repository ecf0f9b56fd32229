//! Ranks of the values of one gene, summed over groups of cells. Small counts are ranked
//! by a histogram, other values are sorted. Zeros are one tie; only their number is
//! passed.
//!
//! Ranks are multiplied by two, so that they are integers, and their sums are exact in
//! any order.

use std::mem::{replace, swap, take};

/// Counts are ranked by a histogram if the greatest is at most this many times the number
/// of values.
const COUNTED_EACH: usize = 16;
/// Fewer values than this are sorted by comparisons.
const FEW: usize = 256;
/// Maximum number of bits of a digit in the radix sort.
const DIGIT: u32 = 11;

/// Sums ranks. The buffers are reused from gene to gene.
pub(super) struct Ranks {
    doubled: Vec<u64>,
    ties: Vec<u128>,
    /// The number of values of each group before the current tie, and in it.
    before: Vec<u64>,
    here: Vec<u64>,
    /// The groups that have values in the current tie.
    present: Vec<u32>,
    /// First the number of values with each count, then twice the rank of that count.
    counts: Vec<u64>,
    /// The values in ascending order: a key with the order of the value in the upper 32
    /// bits, its group in the lower 32 bits.
    sorted: Vec<u64>,
    spare: Vec<u64>,
}

impl Ranks {
    pub(super) fn new(groups: usize) -> Self {
        Self {
            doubled: vec![0; groups],
            ties: vec![0; groups],
            before: vec![0; groups],
            here: vec![0; groups],
            present: vec![],
            counts: vec![],
            sorted: vec![],
            spare: vec![],
        }
    }

    /// Twice the sum of the ranks of each group.
    pub(super) fn doubled(&self) -> &[u64] {
        &self.doubled
    }

    /// Ranks all values together, and returns t³ − t, summed over the ties of t values.
    /// `of` has the group of each value, and `zeros` the number of zeros of each group.
    pub(super) fn of_all(&mut self, values: &[f64], of: &[u32], zeros: &[u64]) -> u128 {
        let all_zeros: u64 = zeros.iter().sum();
        let most = greatest_count(values);
        let most = most.filter(|most| *most <= COUNTED_EACH * values.len().max(FEW));
        self.doubled.fill(0);
        let (ties, negative) = match most {
            Some(most) => (self.count(values, of, all_zeros, most), 0),
            None => self.walk(values, of, all_zeros),
        };
        let of_zeros = 2 * negative + all_zeros + 1;
        for (sum, zeros) in self.doubled.iter_mut().zip(zeros) {
            *sum += zeros * of_zeros;
        }
        ties + cube(all_zeros)
    }

    /// Ranks nonzero counts up to `most` with a histogram. Returns the sum of t³ − t over
    /// their ties.
    fn count(&mut self, values: &[f64], of: &[u32], zeros: u64, most: usize) -> u128 {
        self.counts.clear();
        self.counts.resize(most + 1, 0);
        for value in values {
            self.counts[*value as usize] += 1;
        }
        let (mut ties, mut before) = (0, zeros);
        for count in self.counts.iter_mut().filter(|count| **count > 0) {
            let t = *count;
            ties += cube(t);
            *count = 2 * before + t + 1;
            before += t;
        }
        for (value, group) in values.iter().zip(of) {
            self.doubled[*group as usize] += self.counts[*value as usize];
        }
        ties
    }

    /// Ranks nonzero values by sorting them. Returns the sum of t³ − t over their ties,
    /// and the number of negative values.
    fn walk(&mut self, values: &[f64], of: &[u32], zeros: u64) -> (u128, u64) {
        let negative = self.sort(values, of);
        let (below, above) = self.sorted.split_at(negative);
        let (mut ties, negative) = (0, negative as u64);
        for (part, mut before) in [(below, 0), (above, negative + zeros)] {
            for tie in part.chunk_by(are_tied) {
                let t = tie.len() as u64;
                for value in tie {
                    self.doubled[group_of(*value)] += 2 * before + t + 1;
                }
                ties += cube(t);
                before += t;
            }
        }
        (ties, negative)
    }

    /// Ranks the values of each group together with those of `reference`, and returns
    /// the ties of each group.
    pub(super) fn with(
        &mut self,
        reference: usize,
        values: &[f64],
        of: &[u32],
        zeros: &[u64],
    ) -> &[u128] {
        self.doubled.fill(0);
        self.ties.fill(0);
        self.before.fill(0);
        let negative = self.sort(values, of);
        let sorted = take(&mut self.sorted);
        self.walk_with(reference, &sorted[..negative]);
        for (group, zeros) in zeros.iter().enumerate().filter(|(_, zeros)| **zeros > 0) {
            self.present.push(group as u32);
            self.here[group] = *zeros;
        }
        self.end_tie(reference);
        self.walk_with(reference, &sorted[negative..]);
        self.sorted = sorted;
        let of_reference = self.ties[reference];
        for ties in &mut self.ties {
            *ties += of_reference;
        }
        &self.ties
    }

    fn walk_with(&mut self, reference: usize, sorted: &[u64]) {
        for tie in sorted.chunk_by(are_tied) {
            for value in tie {
                let here = &mut self.here[group_of(*value)];
                if *here == 0 {
                    self.present.push(*value as u32);
                }
                *here += 1;
            }
            self.end_tie(reference);
        }
    }

    /// Adds the ranks of the current tie. The ties of a group leave out the part that the
    /// reference has on its own; [`Self::with`] adds that at the end.
    fn end_tie(&mut self, reference: usize) {
        let (r, r_before) = (self.here[reference], self.before[reference]);
        for group in self.present.drain(..).map(|group| group as usize) {
            let t = take(&mut self.here[group]);
            if group == reference {
                self.ties[group] += cube(t);
            } else {
                let before = r_before + self.before[group];
                self.doubled[group] += t * (2 * before + r + t + 1);
                self.ties[group] += cube(r + t) - cube(r);
            }
            self.before[group] += t;
        }
    }

    /// Sorts values, and returns how many are negative.
    fn sort(&mut self, values: &[f64], of: &[u32]) -> usize {
        self.sorted.clear();
        if !self.sort_short(values, of) {
            self.sort_long(values, of);
        }
        values.iter().filter(|value| **value < 0.0).count()
    }

    /// Sorts the values if they are counts or fit float32; returns whether they are.
    fn sort_short(&mut self, values: &[f64], of: &[u32]) -> bool {
        let pairs = values.iter().zip(of);
        let joined = |order: u32, group: u32| u64::from(order) << 32 | u64::from(group);
        if greatest_count(values).is_some() {
            self.sorted
                .extend(pairs.map(|(v, group)| joined(*v as u32, *group)));
        } else if values.iter().all(|v| f64::from(*v as f32) == *v) {
            self.sorted
                .extend(pairs.map(|(v, group)| joined(order_of(*v as f32), *group)));
            // Keys that are close to each other are sorted by fewer digits.
            let least = self
                .sorted
                .iter()
                .min()
                .map_or(0, |least| least >> 32 << 32);
            for value in &mut self.sorted {
                *value -= least;
            }
        } else {
            return false;
        }
        if self.sorted.len() < FEW {
            self.sorted.sort_unstable();
        } else {
            self.sort_by_digits();
        }
        true
    }

    /// A radix sort by the keys, with digits as long as the keys need: logarithms take
    /// three rounds and counts one, where digits of 8 bits would take four and two.
    fn sort_by_digits(&mut self) {
        let most = self.sorted.iter().max().map_or(0, |most| most >> 32);
        let bits = u64::BITS - most.leading_zeros();
        let rounds = bits.div_ceil(DIGIT).max(1);
        let digit = bits.div_ceil(rounds);
        self.spare.resize(self.sorted.len(), 0);
        for round in 0..rounds {
            let shift = 32 + round * digit;
            let place = |value: u64| (value >> shift) as usize & ((1 << digit) - 1);
            let mut next = [0u32; 1 << DIGIT];
            for value in &self.sorted {
                next[place(*value)] += 1;
            }
            let mut before = 0;
            for next in &mut next[..1 << digit] {
                before += replace(next, before);
            }
            for value in &self.sorted {
                let next = &mut next[place(*value)];
                self.spare[*next as usize] = *value;
                *next += 1;
            }
            swap(&mut self.sorted, &mut self.spare);
        }
    }

    /// Sorts float64 values; their keys are the numbers of the distinct values. NaN is
    /// the greatest, and is not tied with anything.
    fn sort_long(&mut self, values: &[f64], of: &[u32]) {
        let mut pairs: Vec<(f64, u32)> = values.iter().copied().zip(of.iter().copied()).collect();
        let key = |value: f64| if value.is_nan() { f64::NAN } else { value };
        pairs.sort_by(|a, b| key(a.0).total_cmp(&key(b.0)));
        let mut number = 0u64;
        let mut last = f64::NAN;
        self.sorted.extend(pairs.iter().map(|(value, group)| {
            number += u64::from(*value != last);
            last = *value;
            number << 32 | u64::from(*group)
        }));
    }
}

/// The greatest value, if all are counts below 65,536.
fn greatest_count(values: &[f64]) -> Option<usize> {
    let is_count = |value: &f64| f64::from(*value as u16) == *value;
    let all = values.iter().all(is_count);
    all.then(|| {
        values
            .iter()
            .fold(0, |most, value| most.max(*value as usize))
    })
}

/// An integer key with the same order as the numbers, which must not be NaN.
fn order_of(value: f32) -> u32 {
    let bits = value.to_bits();
    if value < 0.0 { !bits } else { bits | 1 << 31 }
}

fn are_tied(a: &u64, b: &u64) -> bool {
    a >> 32 == b >> 32
}

fn group_of(value: u64) -> usize {
    value as u32 as usize
}

/// t³ − t.
fn cube(t: u64) -> u128 {
    let t = u128::from(t);
    t * t * t - t
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Twice the sums of ranks, and the ties, from every pair of values.
    fn plainly(values: &[(f64, usize)], groups: usize) -> (Vec<u64>, u128) {
        let mut doubled = vec![0; groups];
        let mut ties = 0;
        for (value, group) in values {
            let less = values.iter().filter(|(v, _)| v < value).count() as u64;
            let same = values.iter().filter(|(v, _)| v == value).count() as u64;
            doubled[*group] += 2 * less + same + 1;
            // The ties of a value, divided among those that have it.
            ties += u128::from(same * same - 1);
        }
        (doubled, ties)
    }

    proptest! {
        #[test]
        fn counts_and_fractions_of_both_lengths_are_ranked(
            cells in prop::collection::vec((0i32..7, 0usize..3), 1..700),
            least in prop::sample::select(vec![0, -3]),
            factor in prop::sample::select(vec![1.0, 3e4, 1e6, 0.5, 0.1]),
        ) {
            let value = |n: i32| f64::from(n + least) * factor;
            let all: Vec<_> = cells.iter().map(|(n, group)| (value(*n), *group)).collect();
            let mut zeros = vec![0; 3];
            for (_, group) in all.iter().filter(|(v, _)| *v == 0.0) {
                zeros[*group] += 1;
            }
            let listed = all.iter().filter(|(v, _)| *v != 0.0);
            let (values, of): (Vec<f64>, Vec<u32>) = listed.map(|(v, g)| (*v, *g as u32)).unzip();
            let mut ranks = Ranks::new(3);
            let ties = ranks.of_all(&values, &of, &zeros);
            prop_assert_eq!((ranks.doubled().to_vec(), ties), plainly(&all, 3));

            let ties = ranks.with(0, &values, &of, &zeros).to_vec();
            for group in [1, 2] {
                let pair: Vec<_> = all.iter().copied().filter(|(_, g)| [0, group].contains(g)).collect();
                let (doubled, ties_of_pair) = plainly(&pair, 3);
                prop_assert_eq!((ranks.doubled()[group], ties[group]), (doubled[group], ties_of_pair));
            }
        }
    }

    #[test]
    fn nan_is_the_greatest_and_tied_with_nothing() {
        let mut ranks = Ranks::new(2);
        let ties = ranks.of_all(&[f64::NAN, 2.5, -f64::NAN, -1.0], &[0, 1, 0, 1], &[0, 2]);
        assert_eq!(
            (ranks.doubled(), ties),
            (&[2 * (5 + 6), 2 + 2 * (2 + 3) + 2 * 4][..], 6)
        );
    }
}
