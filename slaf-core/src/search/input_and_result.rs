//! The input and the result of a search among vectors.

use arrow::buffer::BooleanBuffer;

use super::metric::Metric;
use crate::{Error, Result};

/// The input of a search for nearest neighbours.
#[derive(Debug, Clone)]
pub struct Question {
    /// The query vectors, one after the other, each of `width` numbers.
    pub queries: Vec<f32>,
    pub width: usize,
    /// The number of neighbours of each query.
    pub k: usize,
    pub metric: Metric,
    /// A mask of the rows that can be found; `None` for all.
    pub among: Option<BooleanBuffer>,
}

/// The `k` nearest rows of each query, nearest first: two arrays of queries × `k`.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    pub k: usize,
    /// Row numbers; -1 if fewer than `k` rows have a distance.
    pub rows: Vec<i64>,
    /// Distances in the search's metric; infinite where there is no row.
    pub distances: Vec<f64>,
}

impl Question {
    /// Checks the search against a column of `rows` vectors of `width` numbers.
    pub(super) fn check(&self, width: usize, rows: usize) -> Result<()> {
        let wrong = |message: String| Err(Error::Engine { message });
        if self.width != width {
            return wrong(format!(
                "The query has {} numbers, and the vectors have {width}.",
                self.width
            ));
        }
        if self.k == 0 {
            return wrong("`k` is 0, but at least one neighbour has to be found.".into());
        }
        if let Some(at) = self.queries.iter().position(|number| !number.is_finite()) {
            return wrong(format!(
                "Query {} contains {}, so it has no neighbours.",
                at / width.max(1),
                self.queries[at]
            ));
        }
        match &self.among {
            Some(among) if among.len() != rows => wrong(format!(
                "The filter has {} rows, and the vectors have {rows}.",
                among.len()
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn queries(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.queries.chunks_exact(self.width.max(1))
    }
}
