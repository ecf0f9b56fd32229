//! Numbers as they came in the types that they are stored in, exactly or not
//! at all.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int32Array, UInt16Array};

use crate::values::ValuesRef;
use crate::{Error, Result, ValueType};

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

    /// The first row whose indices do not ascend, and the place of the one that
    /// is not above the one before it.
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

    /// Gene numbers below `genes`, 16 bits wide if `narrow`, or the place of
    /// one that is none.
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

/// The values as `target`, or the place and text of the first that it cannot
/// hold.
pub(crate) fn store(data: ValuesRef<'_>, target: ValueType) -> Result<ArrayRef, (usize, String)> {
    /// Converts first and compares afterwards, block by block: both loops are
    /// vectors' work, and hardly ever does a block differ.
    fn all<T: Copy + ToString, U: Copy>(
        data: &[T],
        convert: impl Fn(T) -> U,
        same: impl Fn(T, U) -> bool,
    ) -> Result<Vec<U>, (usize, String)> {
        let out: Vec<U> = data.iter().map(|x| convert(*x)).collect();
        for (block, (ours, theirs)) in out.chunks(4096).zip(data.chunks(4096)).enumerate() {
            let pairs = || ours.iter().zip(theirs);
            if !pairs().fold(true, |all, (u, t)| all & same(*t, *u)) {
                let at = pairs().position(|(u, t)| !same(*t, *u)).unwrap_or_default();
                return Err((block * 4096 + at, theirs[at].to_string()));
            }
        }
        Ok(out)
    }
    macro_rules! to {
        ($array:ident, $target:ty) => {{
            macro_rules! from {
                // Casts saturate: the comparison is made in a type that has room.
                ($values:expr, $wide:ty) => {
                    all(
                        $values,
                        |x| x as $target,
                        |x, y| same(x as $wide, y as $wide, y),
                    )
                };
            }
            match data {
                ValuesRef::U16(v) => from!(v, u32),
                ValuesRef::I32(v) => from!(v, i64),
                ValuesRef::I64(v) => from!(v, i128),
                ValuesRef::F32(v) => from!(v, f32),
                ValuesRef::F64(v) => from!(v, f64),
            }
            .map(|values| Arc::new($array::from(values)) as ArrayRef)
        }};
    }
    match target {
        ValueType::U16 => to!(UInt16Array, u16),
        ValueType::F32 => to!(Float32Array, f32),
        _ => to!(Float64Array, f64),
    }
}

/// Whether going to the other type and back changed nothing. A NaN stays a NaN
/// where the target has one.
#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
fn same<T: PartialEq + Copy, U: PartialEq + Copy>(value: T, back: T, converted: U) -> bool {
    (value == back) | ((value != value) & (converted != converted))
}

/// The place and text of the first value that counts nothing: negative, NaN,
/// infinite or fractional.
pub(crate) fn no_count(data: ValuesRef<'_>) -> Option<(usize, String)> {
    fn first<T: Copy + ToString>(
        data: &[T],
        counts: impl Fn(T) -> bool,
    ) -> Option<(usize, String)> {
        let at = data.iter().position(|v| !counts(*v))?;
        Some((at, data[at].to_string()))
    }
    match data {
        ValuesRef::U16(_) => None,
        ValuesRef::I32(v) => first(v, |x| x >= 0),
        ValuesRef::I64(v) => first(v, |x| x >= 0),
        ValuesRef::F32(v) => first(v, |x| x >= 0.0 && x.fract() == 0.0),
        ValuesRef::F64(v) => first(v, |x| x >= 0.0 && x.fract() == 0.0),
    }
}

/// A block whose indptr does not fit its values.
pub(crate) fn bad(reason: String) -> Error {
    Error::BadMatrix { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cast_would_round_is_refused() {
        let refused = |data, target| store(data, target).unwrap_err();
        let i32s = [1, i32::MAX];
        assert_eq!(
            refused(ValuesRef::I32(&i32s), ValueType::F32),
            (1, "2147483647".into())
        );
        assert!(store(ValuesRef::I32(&i32s), ValueType::F64).is_ok());
        let i64s = [i64::MAX];
        assert_eq!(refused(ValuesRef::I64(&i64s), ValueType::F64).0, 0);
        let f64s = [0.0, f64::from(1.0f32), 0.1];
        assert_eq!(
            refused(ValuesRef::F64(&f64s), ValueType::F32),
            (2, "0.1".into())
        );
        let mut many = vec![1.0f32; 9000];
        many[8999] = -1.0;
        assert_eq!(
            refused(ValuesRef::F32(&many), ValueType::U16),
            (8999, "-1".into())
        );
        assert!(store(ValuesRef::F32(&[f32::NAN]), ValueType::F64).is_ok());
        assert!(store(ValuesRef::F32(&[f32::NAN]), ValueType::U16).is_err());
    }
}
