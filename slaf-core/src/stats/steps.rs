//! The steps of a lazy matrix, applied to values when they are read. Every step
//! maps zero to zero, so a sparse matrix stays sparse.

use std::marker::PhantomData;

use super::block::{Block, Visit, visit, wrong_length};
use crate::matrix::values::Value;
use crate::{Result, ValueType, Values};

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Multiply by one number per row of the block.
    Rows(Vec<f64>),
    /// Multiply by one number per column.
    Columns(Vec<f64>),
    /// Divide by one number per row of the block.
    PerRow(Vec<f64>),
    /// Divide by one number per column.
    PerColumn(Vec<f64>),
    Times(f64),
    /// Raise to this power.
    Power(f64),
    Log1p,
    Expm1,
    Abs,
    Sign,
    /// Clip to this maximum and its negative.
    Clip(f64),
    /// Clip to one maximum per column.
    ClipColumns(Vec<f64>),
}

impl Step {
    /// An error unless there is one number per row or column.
    pub(super) fn check(&self, rows: usize, columns: usize) -> Result<()> {
        let (what, found, expected) = match self {
            Self::Rows(factors) | Self::PerRow(factors) => ("row factors", factors.len(), rows),
            Self::Columns(factors) | Self::PerColumn(factors) | Self::ClipColumns(factors) => {
                ("column factors", factors.len(), columns)
            }
            _ => return Ok(()),
        };
        match found == expected {
            true => Ok(()),
            false => Err(wrong_length(what, found, expected)),
        }
    }

    /// The same for rows that each have a place among those of this step, or -1.
    pub(super) fn placed(self, places: &[i32]) -> Self {
        let at = |factors: Vec<f64>| {
            let of = |place: &i32| usize::try_from(*place).map_or(1.0, |place| factors[place]);
            places.iter().map(of).collect()
        };
        match self {
            Self::Rows(factors) => Self::Rows(at(factors)),
            Self::PerRow(factors) => Self::PerRow(at(factors)),
            other => other,
        }
    }

    /// The numbers of rows, if it has some.
    pub(super) fn of_rows(&self) -> Option<&[f64]> {
        match self {
            Self::Rows(factors) | Self::PerRow(factors) => Some(factors),
            _ => None,
        }
    }

    pub(super) fn of_column(&self) -> bool {
        match self {
            Self::Columns(_) | Self::PerColumn(_) | Self::ClipColumns(_) => true,
            Self::Rows(_)
            | Self::PerRow(_)
            | Self::Times(_)
            | Self::Power(_)
            | Self::Log1p
            | Self::Expm1
            | Self::Abs
            | Self::Sign
            | Self::Clip(_) => false,
        }
    }

    #[inline]
    pub(super) fn of(&self, value: f64, row: usize, column: usize) -> f64 {
        match self {
            Self::Rows(factors) => value * factors[row],
            Self::Columns(factors) => value * factors[column],
            Self::PerRow(divisors) => value / divisors[row],
            Self::PerColumn(divisors) => value / divisors[column],
            Self::Times(factor) => value * factor,
            Self::Power(exponent) => {
                if *exponent == 0.5 {
                    value.sqrt()
                } else if *exponent == 2.0 {
                    value * value
                } else {
                    value.powf(*exponent)
                }
            }
            Self::Log1p => value.ln_1p(),
            Self::Expm1 => value.exp_m1(),
            Self::Abs => value.abs(),
            // Unlike Rust's signum, numpy's sign of zero is zero.
            Self::Sign if value == 0.0 => 0.0,
            Self::Sign => value.signum(),
            Self::Clip(limit) => value.clamp(-limit, *limit),
            Self::ClipColumns(limits) => value.min(limits[column]),
        }
    }
}

/// The values of `block` after `steps`, as float32 or float64. The result of
/// each step is rounded to that type, as if the matrix had been stored in
/// between.
pub fn apply(block: &Block<'_>, steps: &[Step], dtype: ValueType) -> Result<Values> {
    for step in steps {
        step.check(block.rows(), block.width)?;
    }
    Ok(match dtype {
        ValueType::F64 => Values::F64(visit(block, Apply::<f64>(steps, PhantomData))),
        _ => Values::F32(visit(block, Apply::<f32>(steps, PhantomData))),
    })
}

struct Apply<'a, O>(&'a [Step], PhantomData<O>);

/// The type to which values are rounded.
trait Rounded: Copy + Default {
    fn round(value: f64) -> Self;

    fn exact(self) -> f64;
}

impl Rounded for f64 {
    #[inline]
    fn round(value: f64) -> Self {
        value
    }

    #[inline]
    fn exact(self) -> f64 {
        self
    }
}

impl Rounded for f32 {
    #[inline]
    fn round(value: f64) -> Self {
        value as Self
    }

    #[inline]
    fn exact(self) -> f64 {
        f64::from(self)
    }
}

/// Counts below this are computed once per row and then looked up. A cell's few
/// hundred genes share a handful of counts, and a logarithm takes longer than a
/// lookup.
const KNOWN: usize = 64;

impl<O: Rounded> Visit for Apply<'_, O> {
    type Output = Vec<O>;

    fn visit<T: Value>(self, block: &Block<'_>, data: &[T]) -> Vec<O> {
        let steps = self.0;
        let of = |value: f64, row: usize, column: i32| {
            let step =
                |value: O, step: &Step| O::round(step.of(value.exact(), row, column as usize));
            steps.iter().fold(O::round(value), step)
        };
        let by_column = steps.iter().any(Step::of_column);
        let mut out = vec![O::default(); data.len()];
        let mut known = [(usize::MAX, O::default()); KNOWN];
        for row in 0..block.rows() {
            for at in block.span(row) {
                let value = data[at].to_f64();
                let count = value as usize;
                out[at] = if by_column || count >= KNOWN || count as f64 != value {
                    of(value, row, block.indices[at])
                } else {
                    if known[count].0 != row {
                        known[count] = (row, of(value, row, 0));
                    }
                    known[count].1
                };
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Indices, ValuesRef};

    #[test]
    fn counts_that_are_looked_up_and_others_agree() {
        let data = [1.0, 2.0, 100.0, 0.5, 1.0, -3.0];
        let block = Block::new(
            Indices::I32(&[0, 4, 6]),
            &[0, 1, 2, 3, 0, 1],
            ValuesRef::F64(&data),
            4,
        )
        .unwrap();
        let steps = [Step::Rows(vec![2.0, 0.25]), Step::Log1p];
        let Values::F64(found) = apply(&block, &steps, ValueType::F64).unwrap() else {
            panic!("float64 was asked for");
        };
        let factor = |at: usize| if at < 4 { 2.0 } else { 0.25 };
        let plain: Vec<f64> = (0..6).map(|at| (data[at] * factor(at)).ln_1p()).collect();
        assert_eq!(found, plain);
    }

    #[test]
    fn factors_of_another_matrix_are_refused() {
        let block = Block::new(Indices::I32(&[0, 1]), &[0], ValuesRef::F32(&[1.0]), 1).unwrap();
        let error = apply(&block, &[Step::Rows(vec![])], ValueType::F32).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("0 row factors where 1 are needed"),
            "{error}"
        );
    }
}
