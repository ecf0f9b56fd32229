//! How far two vectors are apart.

use lance_linalg::distance::{DistanceType, Dot, L2, cosine_distance_batch};

/// Euclidean distance, cosine distance (1 − cos), or the negative product, so
/// that less is nearer.
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

    pub(super) fn lance(self) -> DistanceType {
        match self {
            Self::L2 => DistanceType::L2,
            Self::Cosine => DistanceType::Cosine,
            Self::Dot => DistanceType::Dot,
        }
    }

    /// The distance of two vectors of one length; NaN by cosine to a vector of
    /// zeros.
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
            Self::Cosine => 1.0 - product / (f64::sqrt(length_a) * f64::sqrt(length_b)),
        }
    }

    /// Numbers that ascend as the distances do, in 32 bits and with SIMD.
    pub(super) fn rank(self, query: &[f32], vectors: &[f32], ranks: &mut [f32]) {
        let width = query.len();
        match self {
            Self::L2 => f32::l2_batch_into(query, vectors, width, ranks),
            Self::Dot => {
                f32::dot_batch_into(query, vectors, width, ranks);
                ranks.iter_mut().for_each(|rank| *rank = -*rank);
            }
            Self::Cosine => {
                let distances = cosine_distance_batch(query, vectors, width);
                ranks
                    .iter_mut()
                    .zip(distances)
                    .for_each(|(rank, distance)| *rank = distance);
            }
        }
    }
}
