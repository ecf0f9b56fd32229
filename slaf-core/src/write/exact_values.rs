//! Converts numbers to the type in which they are stored, exactly or not at all.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, UInt16Array};

use crate::{Result, ValueType, ValuesRef};

/// The values as `target`, or the place and text of the first value that it
/// cannot hold.
pub(crate) fn exactly(data: ValuesRef<'_>, target: ValueType) -> Result<ArrayRef, (usize, String)> {
    /// Converts a block first and compares it afterwards: both loops are
    /// vectorised, and a difference is rare.
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
                // Casts saturate, so the values are compared in a wider type.
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

/// Whether converting to the other type and back changes nothing. A NaN stays a
/// NaN if the target has one.
#[expect(clippy::eq_op, reason = "only a NaN differs from itself")]
fn same<T: PartialEq + Copy, U: PartialEq + Copy>(value: T, back: T, converted: U) -> bool {
    (value == back) | ((value != value) & (converted != converted))
}

/// The place and text of the first value that is not a count: negative, NaN,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cast_would_round_is_refused() {
        let refused = |data, target| exactly(data, target).unwrap_err();
        let i32s = [1, i32::MAX];
        assert_eq!(
            refused(ValuesRef::I32(&i32s), ValueType::F32),
            (1, "2147483647".into())
        );
        assert!(exactly(ValuesRef::I32(&i32s), ValueType::F64).is_ok());
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
        assert!(exactly(ValuesRef::F32(&[f32::NAN]), ValueType::F64).is_ok());
        assert!(exactly(ValuesRef::F32(&[f32::NAN]), ValueType::U16).is_err());
    }
}
