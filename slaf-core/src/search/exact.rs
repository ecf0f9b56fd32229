//! Exact search. Every vector is compared: all threads rank them in 32 bits with
//! SIMD, and the best few are measured again in 64 bits, which decides their order.

use rayon::prelude::*;

use super::input_and_result::{Neighbours, Question};
use crate::Result;

/// Vectors that a thread processes at a time: they stay in its cache for all
/// queries.
const CHUNK: usize = 1024;

/// The nearest of `vectors`, which have `width` numbers each, row-major.
///
/// # Errors
///
/// The queries have another length or are not finite, or `k` is 0.
pub fn exact(vectors: &[f32], width: usize, question: &Question) -> Result<Neighbours> {
    question.check(width, vectors.len() / width.max(1))?;
    let k = question.k;
    // Some rows just behind the last one in 32 bits may come before it in 64 bits.
    let kept = k + k / 4 + 8;
    let none = || vec![Best::new(kept); question.queries().len()];
    let best = vectors
        .par_chunks(CHUNK * width.max(1))
        .enumerate()
        .fold(none, |mut best, (chunk, vectors)| {
            let mut ranks = [0.0; CHUNK];
            let ranks = &mut ranks[..vectors.len() / width];
            for (query, best) in question.queries().zip(&mut best) {
                question.metric.rank(query, vectors, ranks);
                best.offer(ranks, chunk * CHUNK, question);
            }
            best
        })
        .reduce(none, |mut best, other| {
            for (best, other) in best.iter_mut().zip(other) {
                other
                    .found
                    .into_iter()
                    .for_each(|(rank, row)| best.push(rank, row));
            }
            best
        });
    let (mut rows, mut distances) = (vec![], vec![]);
    for (query, best) in question.queries().zip(best) {
        let mut measured: Vec<(f64, usize)> = best
            .found
            .iter()
            .map(|(_, row)| {
                let vector = &vectors[row * width..(row + 1) * width];
                (question.metric.distance(query, vector), *row)
            })
            // A vector of zeros has no angle.
            .filter(|(distance, _)| !distance.is_nan())
            .collect();
        measured.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        measured.truncate(k);
        let missing = k - measured.len();
        rows.extend(measured.iter().map(|(_, row)| *row as i64));
        rows.extend(std::iter::repeat_n(-1, missing));
        distances.extend(measured.iter().map(|(distance, _)| *distance));
        distances.extend(std::iter::repeat_n(f64::INFINITY, missing));
    }
    Ok(Neighbours { k, rows, distances })
}

/// The best rows so far, unsorted until there are twice as many as are kept.
#[derive(Clone)]
struct Best {
    kept: usize,
    /// Only better ranks than this are added.
    bar: f32,
    found: Vec<(f32, usize)>,
}

impl Best {
    fn new(kept: usize) -> Self {
        Self {
            kept,
            bar: f32::INFINITY,
            found: vec![],
        }
    }

    fn offer(&mut self, ranks: &[f32], first: usize, question: &Question) {
        for (at, rank) in ranks.iter().enumerate() {
            // NaN is never less.
            if *rank < self.bar {
                let row = first + at;
                if question.among.as_ref().is_none_or(|among| among.value(row)) {
                    self.push(*rank, row);
                }
            }
        }
    }

    fn push(&mut self, rank: f32, row: usize) {
        self.found.push((rank, row));
        if self.found.len() >= 2 * self.kept {
            let by_rank =
                |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            let (_, last, _) = self.found.select_nth_unstable_by(self.kept - 1, by_rank);
            self.bar = last.0;
            self.found.truncate(self.kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::buffer::BooleanBuffer;
    use proptest::prelude::*;

    use super::super::metric::Metric;
    use super::*;

    #[test]
    fn a_vector_of_zeros_has_no_direction() {
        let question = Question {
            queries: vec![0.0; 2],
            width: 2,
            k: 2,
            metric: Metric::Cosine,
            among: None,
        };
        let got = exact(&[1.0, 2.0, 3.0, 4.0], 2, &question).unwrap();
        assert_eq!(got.rows, [-1, -1]);
        assert_eq!(got.distances, [f64::INFINITY; 2]);
    }

    proptest! {
        #[test]
        fn as_sorting_all_distances(
            numbers in prop::collection::vec(-3i8..4, 0..6000),
            query in prop::collection::vec(-3i8..4, 3),
            k in 1usize..12,
            metric in prop::sample::select(vec![Metric::L2, Metric::Cosine, Metric::Dot]),
            odd in any::<bool>(),
        ) {
            let rows = numbers.len() / 3;
            let vectors: Vec<f32> = numbers[..rows * 3].iter().map(|x| f32::from(*x)).collect();
            let query: Vec<f32> = query.into_iter().map(f32::from).collect();
            let among = odd.then(|| BooleanBuffer::collect_bool(rows, |row| row % 2 == 1));
            let mut want: Vec<f64> = (0..rows)
                .filter(|row| !odd || row % 2 == 1)
                .map(|row| metric.distance(&query, &vectors[row * 3..row * 3 + 3]))
                .filter(|distance| !distance.is_nan())
                .collect();
            want.sort_by(f64::total_cmp);
            let question = Question { queries: query, width: 3, k, metric, among };
            let got = exact(&vectors, 3, &question).unwrap();
            want.resize(k.max(want.len()), f64::INFINITY);
            // If more rows have the same angle than are measured in 64 bits, any of them are
            // correct; the last digit of their distances may differ.
            let off = if metric == Metric::Cosine { 1e-15 } else { 0.0 };
            for (got, want) in got.distances.iter().zip(&want) {
                prop_assert!(got == want || (got - want).abs() <= off, "{got} for {want}");
            }
            for (row, distance) in got.rows.iter().zip(&got.distances) {
                prop_assert_eq!(*row < 0, distance.is_infinite());
                prop_assert!(!odd || *row < 0 || row % 2 == 1);
            }
        }
    }
}
