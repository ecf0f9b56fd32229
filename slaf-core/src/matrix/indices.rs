//! Column indices and indptr, as 32-bit or 64-bit integers.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, UInt16Array};

/// Column indices of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Indices<'a> {
    I32(&'a [i32]),
    I64(&'a [i64]),
}

impl Indices<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    pub(crate) fn at(&self, place: usize) -> i64 {
        match self {
            Self::I32(v) => i64::from(v[place]),
            Self::I64(v) => v[place],
        }
    }

    /// The first row whose indices do not ascend, and the place of the first
    /// index that is not greater than the one before it.
    pub(crate) fn unordered(
        &self,
        rows: impl Iterator<Item = Range<usize>>,
    ) -> Option<(usize, usize)> {
        fn ascend<I: Ord>(row: &[I]) -> bool {
            let pairs = row.iter().zip(row.iter().skip(1));
            pairs.fold(true, |all, (a, b)| all & (a < b))
        }
        for (row, span) in rows.enumerate() {
            let ordered = match self {
                Self::I32(v) => ascend(&v[span.clone()]),
                Self::I64(v) => ascend(&v[span.clone()]),
            };
            if !ordered {
                let mut places = span.skip(1);
                return Some((row, places.find(|at| self.at(*at) <= self.at(at - 1))?));
            }
        }
        None
    }

    /// Gene numbers below `genes`, 16 bits wide if `narrow`; or the place of an
    /// index that is out of range.
    pub(crate) fn gene_ids(&self, genes: u64, narrow: bool) -> Result<ArrayRef, usize> {
        macro_rules! narrowed {
            ($indices:expr, $array:ident, $to:ty) => {{
                if let Some(at) = $indices
                    .iter()
                    .position(|g| !(0..genes as i64).contains(&i64::from(*g)))
                {
                    return Err(at);
                }
                Arc::new($array::from_iter_values($indices.iter().map(|g| *g as $to)))
            }};
        }
        Ok(match (self, narrow) {
            (Self::I32(v), true) => narrowed!(v, UInt16Array, u16),
            (Self::I32(v), false) => narrowed!(v, Int32Array, i32),
            (Self::I64(v), true) => narrowed!(v, UInt16Array, u16),
            (Self::I64(v), false) => narrowed!(v, Int32Array, i32),
        })
    }
}
