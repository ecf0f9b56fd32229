//! Aggregate functions over numbered groups, with one slot per group.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, PrimitiveArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, UInt64Type};
use datafusion::error::Result;
use std::sync::Arc;

use super::measure::{Kind, Measure};

/// What is known of some values without looking at them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) n: u64,
    pub(crate) total: f64,
    pub(crate) squares: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// The state of one aggregate function in all groups.
#[derive(Debug)]
pub(crate) struct Accumulator {
    kind: Kind,
    /// Values that were taken.
    n: Vec<u64>,
    slots: Slots,
}

#[derive(Debug)]
enum Slots {
    None,
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    /// The mean, and the sum of squared differences from it (Welford 1962).
    Moments(Vec<f64>, Vec<f64>),
}

impl Accumulator {
    /// Bytes that it takes a group.
    pub(crate) fn size(measure: &Measure) -> usize {
        match measure.kind {
            Kind::Count => 8,
            Kind::Spread { .. } => 24,
            _ => 16,
        }
    }

    pub(crate) fn new(measure: &Measure, groups: usize) -> Self {
        let first = match measure.kind {
            // NaN is the greatest: see `least`.
            Kind::Min => (i64::MAX, f64::NAN),
            Kind::Max => (i64::MIN, f64::NEG_INFINITY),
            _ => (0, 0.0),
        };
        let slots = match (measure.kind, measure.integer) {
            (Kind::Count, _) => Slots::None,
            (Kind::Spread { .. }, _) => Slots::Moments(vec![0.0; groups], vec![0.0; groups]),
            (_, true) => Slots::Integers(vec![first.0; groups]),
            (_, false) => Slots::Floats(vec![first.1; groups]),
        };
        Self {
            kind: measure.kind,
            n: vec![0; groups],
            slots,
        }
    }

    /// Takes `values` (none: rows are counted) into the groups of their rows,
    /// those that `kept` tells.
    pub(crate) fn update(
        &mut self,
        groups: &[u32],
        values: Option<&ArrayRef>,
        kept: Option<&BooleanArray>,
    ) -> Result<()> {
        let nulls = left_out(values, kept);
        let n = &mut self.n;
        if !matches!(self.slots, Slots::Moments(..)) {
            each(groups, nulls.as_ref(), |g, _| n[g] += 1);
        }
        let Some(values) = values else { return Ok(()) };
        let kind = self.kind;
        match &mut self.slots {
            Slots::None => {}
            Slots::Integers(slots) => {
                let values = numbers::<Int64Type>(values, &DataType::Int64)?;
                let values = values.values();
                match kind {
                    Kind::Min => each(groups, nulls.as_ref(), |g, row| {
                        slots[g] = slots[g].min(values[row])
                    }),
                    Kind::Max => each(groups, nulls.as_ref(), |g, row| {
                        slots[g] = slots[g].max(values[row])
                    }),
                    _ => each(groups, nulls.as_ref(), |g, row| {
                        slots[g] = slots[g].wrapping_add(values[row])
                    }),
                }
            }
            Slots::Floats(slots) => {
                let values = numbers::<Float64Type>(values, &DataType::Float64)?;
                let values = values.values();
                match kind {
                    Kind::Min => each(groups, nulls.as_ref(), |g, row| {
                        slots[g] = least(slots[g], values[row])
                    }),
                    Kind::Max => each(groups, nulls.as_ref(), |g, row| {
                        slots[g] = greatest(slots[g], values[row])
                    }),
                    _ => each(groups, nulls.as_ref(), |g, row| slots[g] += values[row]),
                }
            }
            Slots::Moments(mean, squares) => {
                let values = numbers::<Float64Type>(values, &DataType::Float64)?;
                let values = values.values();
                each(groups, nulls.as_ref(), |g, row| {
                    n[g] += 1;
                    let from_mean = values[row] - mean[g];
                    mean[g] += from_mean / n[g] as f64;
                    squares[g] += from_mean * (values[row] - mean[g]);
                });
            }
        }
        Ok(())
    }

    /// Takes sums that were made before into group `g`.
    pub(crate) fn take_sum(&mut self, g: usize, sum: &Sum) {
        if sum.n == 0 {
            return;
        }
        let (
            n,
            Sum {
                total,
                squares,
                min,
                max,
                ..
            },
        ) = (sum.n as f64, *sum);
        match (&mut self.slots, self.kind) {
            (Slots::Integers(slots), Kind::Min) => slots[g] = slots[g].min(min as i64),
            (Slots::Integers(slots), Kind::Max) => slots[g] = slots[g].max(max as i64),
            (Slots::Integers(slots), _) => slots[g] += total as i64,
            (Slots::Floats(slots), Kind::Min) => slots[g] = least(slots[g], min),
            (Slots::Floats(slots), Kind::Max) => slots[g] = greatest(slots[g], max),
            (Slots::Floats(slots), _) => slots[g] += total,
            (Slots::Moments(mean, spread), _) => {
                let theirs = (total / n, squares - total * total / n);
                join(self.n[g] as f64, (&mut mean[g], &mut spread[g]), n, theirs);
            }
            (Slots::None, _) => {}
        }
        self.n[g] += sum.n;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.slots, other.slots) {
            (Slots::Integers(ours), Slots::Integers(theirs)) => {
                for (a, b) in ours.iter_mut().zip(theirs) {
                    *a = match self.kind {
                        Kind::Min => b.min(*a),
                        Kind::Max => b.max(*a),
                        _ => a.wrapping_add(b),
                    };
                }
            }
            (Slots::Floats(ours), Slots::Floats(theirs)) => {
                for (a, b) in ours.iter_mut().zip(theirs) {
                    *a = match self.kind {
                        Kind::Min => least(*a, b),
                        Kind::Max => greatest(*a, b),
                        _ => *a + b,
                    };
                }
            }
            (Slots::Moments(mean, squares), Slots::Moments(their_mean, their_squares)) => {
                for g in 0..mean.len() {
                    let (a, b) = (self.n[g] as f64, other.n[g] as f64);
                    let theirs = (their_mean[g], their_squares[g]);
                    join(a, (&mut mean[g], &mut squares[g]), b, theirs);
                }
            }
            _ => {}
        }
        for (a, b) in self.n.iter_mut().zip(other.n) {
            *a += b;
        }
    }

    /// The state of some groups, to be sent to another process.
    pub(super) fn packed(&self, groups: &[usize]) -> Vec<ArrayRef> {
        let floats = |slots: &[f64]| -> ArrayRef {
            let slots = groups.iter().map(|g| slots[*g]);
            Arc::new(Float64Array::from_iter_values(slots))
        };
        let n = groups.iter().map(|g| self.n[*g]);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from_iter_values(n))];
        match &self.slots {
            Slots::None => {}
            Slots::Integers(slots) => {
                let slots = groups.iter().map(|g| slots[*g]);
                columns.push(Arc::new(Int64Array::from_iter_values(slots)));
            }
            Slots::Floats(slots) => columns.push(floats(slots)),
            Slots::Moments(mean, squares) => columns.extend([floats(mean), floats(squares)]),
        }
        columns
    }

    /// Sets the state of some groups to what [`Self::packed`] has packed.
    pub(super) fn unpack<'a>(
        &mut self,
        groups: &[usize],
        columns: &mut impl Iterator<Item = &'a ArrayRef>,
    ) {
        fn set<T: ArrowPrimitiveType>(
            slots: &mut [T::Native],
            groups: &[usize],
            column: Option<&ArrayRef>,
        ) {
            let values = column.and_then(|column| column.as_primitive_opt::<T>());
            for (g, value) in groups.iter().zip(values.iter().flat_map(|v| v.values())) {
                slots[*g] = *value;
            }
        }
        set::<UInt64Type>(&mut self.n, groups, columns.next());
        match &mut self.slots {
            Slots::None => {}
            Slots::Integers(slots) => set::<Int64Type>(slots, groups, columns.next()),
            Slots::Floats(slots) => set::<Float64Type>(slots, groups, columns.next()),
            Slots::Moments(mean, squares) => {
                set::<Float64Type>(mean, groups, columns.next());
                set::<Float64Type>(squares, groups, columns.next());
            }
        }
    }

    /// The results of the groups `kept`, as `dtype`.
    pub(crate) fn finish(&self, kept: &[usize], dtype: &DataType) -> Result<ArrayRef> {
        let some = |g: usize| self.n[g] > 0;
        let array: ArrayRef = match (&self.slots, self.kind) {
            (Slots::Integers(slots), Kind::Avg) => Arc::new(Float64Array::from_iter(
                kept.iter()
                    .map(|&g| some(g).then(|| slots[g] as f64 / self.n[g] as f64)),
            )),
            (Slots::Floats(slots), Kind::Avg) => Arc::new(Float64Array::from_iter(
                kept.iter()
                    .map(|&g| some(g).then(|| slots[g] / self.n[g] as f64)),
            )),
            (Slots::Integers(slots), _) => Arc::new(Int64Array::from_iter(
                kept.iter().map(|&g| some(g).then_some(slots[g])),
            )),
            (Slots::Floats(slots), _) => Arc::new(Float64Array::from_iter(
                kept.iter().map(|&g| some(g).then_some(slots[g])),
            )),
            (Slots::Moments(_, squares), Kind::Spread { root, sample }) => {
                Arc::new(Float64Array::from_iter(kept.iter().map(|&g| {
                    let n = self.n[g]
                        .checked_sub(u64::from(sample))
                        .filter(|n| *n > 0)?;
                    let variance = squares[g] / n as f64;
                    Some(if root { variance.sqrt() } else { variance })
                })))
            }
            _ => Arc::new(Int64Array::from_iter_values(
                kept.iter().map(|&g| self.n[g] as i64),
            )),
        };
        Ok(cast(&array, dtype)?)
    }
}

/// Adds `b` values to `a` others, each by their mean and their sum of squared
/// differences from it (Chan, Golub and LeVeque 1979).
fn join(a: f64, (mean, spread): (&mut f64, &mut f64), b: f64, theirs: (f64, f64)) {
    if b > 0.0 {
        let apart = theirs.0 - *mean;
        *mean += apart * b / (a + b);
        *spread += theirs.1 + apart * apart * a * b / (a + b);
    }
}

/// The rows that do not count: their value is NULL, or a filter leaves them out.
fn left_out(values: Option<&ArrayRef>, kept: Option<&BooleanArray>) -> Option<NullBuffer> {
    let kept = kept.map(|kept| {
        let inner = kept.values().clone();
        NullBuffer::new(match kept.nulls() {
            Some(nulls) => &inner & nulls.inner(),
            None => inner,
        })
    });
    NullBuffer::union(values.and_then(|values| values.nulls()), kept.as_ref())
}

fn numbers<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    dtype: &DataType,
) -> Result<PrimitiveArray<T>> {
    Ok(cast(values, dtype)?.as_primitive::<T>().clone())
}

/// Calls `take` with the group and the place of every row that is not NULL.
#[inline(always)]
fn each(groups: &[u32], nulls: Option<&NullBuffer>, mut take: impl FnMut(usize, usize)) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => {
            for (row, group) in groups.iter().enumerate() {
                take(*group as usize, row);
            }
        }
        Some(nulls) => {
            for row in nulls.valid_indices() {
                take(groups[row] as usize, row);
            }
        }
    }
}

/// A NaN is greater than all numbers, as in DuckDB.
fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b < a { b } else { a }
}

fn greatest(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}
