//! Numbers as they came in the types that they are stored in, exactly or not
//! at all.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int32Array, UInt16Array};

use crate::values::ValuesRef;
use crate::{Error, Result, ValueType};

/// Column indices of a block.
#[derive(Debug, Clone, Copy)]
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
    fn all<T: Copy + ToString, U>(
        data: &[T],
        convert: impl Fn(T) -> Option<U>,
    ) -> Result<Vec<U>, (usize, String)> {
        let mut out = Vec::with_capacity(data.len());
        for (at, value) in data.iter().enumerate() {
            out.push(convert(*value).ok_or_else(|| (at, value.to_string()))?);
        }
        Ok(out)
    }
    macro_rules! to {
        ($array:ident, $target:ty) => {
            match data {
                ValuesRef::U16(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as u16, x as $target)
                }),
                ValuesRef::I32(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as i32, x as $target)
                }),
                ValuesRef::I64(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as i64, x as $target)
                }),
                ValuesRef::F32(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as f32, x as $target)
                }),
                ValuesRef::F64(v) => all(v, |x| {
                    exact::<_, $target>(x, x as $target as f64, x as $target)
                }),
            }
            .map(|values| Arc::new($array::from(values)) as ArrayRef)
        };
    }
    match target {
        ValueType::U16 => to!(UInt16Array, u16),
        ValueType::F32 => to!(Float32Array, f32),
        _ => to!(Float64Array, f64),
    }
}

/// `converted`, if going there and back changes nothing. A NaN stays a NaN
/// where the target has one.
fn exact<T: PartialEq + Copy, U: PartialEq + Copy>(value: T, back: T, converted: U) -> Option<U> {
    #[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
    let (was_nan, is_nan) = (value != value, converted != converted);
    (value == back || (was_nan && is_nan)).then_some(converted)
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
