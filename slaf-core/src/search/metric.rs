//! The distance between two vectors.

use lance_linalg::distance::DistanceType;

/// Euclidean distance, cosine distance (1 − cos), or the negative dot product,
/// so that less is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    L2,
    Cosine,
    Dot,
}

impl Metric {
    pub const NAMES: [&str; 3] = ["l2", "cosine", "dot"];

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "l2" => Some(Self::L2),
            "cosine" => Some(Self::Cosine),
            "dot" => Some(Self::Dot),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::Dot => "dot",
        }
    }

    pub(crate) fn lance(self) -> DistanceType {
        match self {
            Self::L2 => DistanceType::L2,
            Self::Cosine => DistanceType::Cosine,
            Self::Dot => DistanceType::Dot,
        }
    }

    /// The distance of two vectors of the same length. The cosine distance to a
    /// vector of zeros is NaN.
    pub(crate) fn distance<T: Copy + Into<f64>>(self, a: &[T], b: &[T]) -> f64 {
        let (mut product, mut squares, mut length_a, mut length_b) = (0.0, 0.0, 0.0, 0.0);
        for (a, b) in a.iter().zip(b) {
            let (a, b): (f64, f64) = ((*a).into(), (*b).into());
            product += a * b;
            squares += (a - b) * (a - b);
            length_a += a * a;
            length_b += b * b;
        }
        match self {
            Self::L2 => f64::sqrt(squares),
            Self::Dot => -product,
            Self::Cosine => 1.0 - product / f64::sqrt(length_a * length_b),
        }
    }

    /// Numbers with the same order as the distances, in 32 bits and with SIMD.
    pub(super) fn rank(self, query: &[f32], vectors: &[f32], ranks: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { rank_avx2(self, query, vectors, ranks) };
        }
        rank(self, query, vectors, ranks);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn rank_avx2(metric: Metric, query: &[f32], vectors: &[f32], ranks: &mut [f32]) {
    rank(metric, query, vectors, ranks);
}

#[inline(always)]
fn rank(metric: Metric, query: &[f32], vectors: &[f32], ranks: &mut [f32]) {
    let rows = ranks.iter_mut().zip(vectors.chunks_exact(query.len()));
    match metric {
        Metric::L2 => {
            rows.for_each(|(rank, row)| *rank = sum(query, row, |a, b| (a - b) * (a - b)));
        }
        Metric::Dot => rows.for_each(|(rank, row)| *rank = -sum(query, row, |a, b| a * b)),
        Metric::Cosine => rows.for_each(|(rank, row)| {
            // The length of the query is the same for all rows, and no square root is needed.
            let product = sum(query, row, |a, b| a * b);
            *rank = -product * product.abs() / sum(row, row, |a, b| a * b);
        }),
    }
}

/// Partial sums that are computed side by side: they fill two AVX2 registers.
const LANES: usize = 16;

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in rest_a.iter().zip(rest_b).enumerate() {
        sums[lane] += term(*a, *b);
    }
    // Sums in halves: in sequence, each addition would wait for the one before.
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}
