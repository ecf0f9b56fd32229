//! Blocks of rows, and computations on them for every dtype.

use std::ops::Range;

use crate::matrix::values::Value;
use crate::{Error, Indices, Result, ValuesRef};

/// Some rows of a CSR matrix (or columns of a CSC matrix), validated once.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    pub(super) indptr: Indices<'a>,
    pub(super) indices: &'a [i32],
    pub(super) data: ValuesRef<'a>,
    pub(super) width: usize,
}

impl<'a> Block<'a> {
    /// `width` is the length of a row.
    pub fn new(
        indptr: Indices<'a>,
        indices: &'a [i32],
        data: ValuesRef<'a>,
        width: usize,
    ) -> Result<Self> {
        let bad = |reason: &str| {
            Err(Error::BadMatrix {
                reason: reason.into(),
            })
        };
        let n = indptr.len();
        if n == 0 || indices.len() != data.len() {
            return bad("arrays of different lengths");
        }
        let ascending = (1..n).all(|at| indptr.at(at) >= indptr.at(at - 1));
        if !ascending || indptr.at(0) < 0 || indptr.at(n - 1) > indices.len() as i64 {
            return bad("an indptr that does not fit its values");
        }
        if indices
            .iter()
            .any(|column| !(0..width as i64).contains(&i64::from(*column)))
        {
            return bad("a column index out of bounds");
        }
        Ok(Self {
            indptr,
            indices,
            data,
            width,
        })
    }

    pub fn rows(&self) -> usize {
        self.indptr.len() - 1
    }

    /// The columns of a row, and its values.
    pub fn row(&self, row: usize) -> (&'a [i32], ValuesRef<'a>) {
        let span = self.span(row);
        (&self.indices[span.clone()], self.data.slice(span))
    }

    pub(super) fn span(&self, row: usize) -> Range<usize> {
        self.indptr.at(row) as usize..self.indptr.at(row + 1) as usize
    }
}

/// A computation on a block, for every dtype.
pub(super) trait Visit {
    type Output;

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) -> Self::Output;
}

pub(super) fn visit<V: Visit>(block: &Block<'_>, work: V) -> V::Output {
    match block.data {
        ValuesRef::U16(data) => work.visit(block, data),
        ValuesRef::I32(data) => work.visit(block, data),
        ValuesRef::I64(data) => work.visit(block, data),
        ValuesRef::F32(data) => work.visit(block, data),
        ValuesRef::F64(data) => work.visit(block, data),
    }
}

/// The error for a list of the wrong length: one number per row or column is
/// needed.
pub(super) fn wrong_length(what: &str, found: usize, expected: usize) -> Error {
    Error::BadMatrix {
        reason: format!("it has {found} {what} where {expected} are needed"),
    }
}
