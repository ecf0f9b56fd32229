//! Aggregate functions over numbered groups, with one slot per group.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, PrimitiveArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, UInt64Type};
use datafusion::error::Result;
use std::sync::Arc;

use super::aggregate_functions::{Kind, Measure};

/// The groups of some rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupedRows<'a> {
    /// The group of each row.
    pub(crate) groups: &'a [u32],
    /// How many equal rows each stands for; none: one.
    pub(crate) times: Option<&'a [u64]>,
}

impl GroupedRows<'_> {
    /// Calls `take` with the group of each row that is not NULL, its position, and how
    /// many rows it stands for.
    #[inline(always)]
    pub(crate) fn each(self, nulls: Option<&NullBuffer>, mut take: impl FnMut(usize, usize, u64)) {
        let rows = self.groups.iter().enumerate();
        match (nulls, self.times) {
            (None, None) => rows.for_each(|(row, group)| take(*group as usize, row, 1)),
            (Some(nulls), None) => {
                let rows = nulls.valid_indices();
                rows.for_each(|row| take(self.groups[row] as usize, row, 1));
            }
            (nulls, Some(times)) => {
                let rows = rows.filter(|(row, _)| nulls.is_none_or(|nulls| nulls.is_valid(*row)));
                rows.for_each(|(row, group)| take(*group as usize, row, times[row]));
            }
        }
    }
}

/// The stored sums of some values.
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
    /// The number of values of each group; `None` if every row has a value.
    n: Option<Vec<u64>>,
    slots: Slots,
}

#[derive(Debug)]
enum Slots {
    None,
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Moments(Vec<Moments>),
}

/// The number of some values, their mean, and the sum of their squared differences from it.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: u64,
    mean: f64,
    spread: f64,
}

impl Moments {
    /// Adds a value as often as `times` says. Once: Welford 1962.
    #[inline(always)]
    fn add(&mut self, value: f64, times: u64) {
        if times != 1 {
            return self.join(Self {
                n: times,
                mean: value,
                spread: 0.0,
            });
        }
        self.n += 1;
        let from_mean = value - self.mean;
        self.mean += from_mean / self.n as f64;
        self.spread += from_mean * (value - self.mean);
    }

    /// Chan, Golub and LeVeque 1979.
    fn join(&mut self, other: Self) {
        if other.n > 0 {
            let (a, b) = (self.n as f64, other.n as f64);
            let apart = other.mean - self.mean;
            self.n += other.n;
            self.mean += apart * b / (a + b);
            self.spread += other.spread + apart * apart * a * b / (a + b);
        }
    }
}

impl Accumulator {
    /// Bytes per group.
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
            (Kind::Spread { .. }, _) => Slots::Moments(vec![Moments::default(); groups]),
            (_, true) => Slots::Integers(vec![first.0; groups]),
            (_, false) => Slots::Floats(vec![first.1; groups]),
        };
        Self {
            kind: measure.kind,
            n: None,
            slots,
        }
    }

    /// Adds `values` to the groups of their rows, or counts rows if there are no
    /// values. Only the rows in `kept` count. `earlier` is the number of earlier rows of
    /// each group.
    pub(crate) fn update(
        &mut self,
        rows: GroupedRows<'_>,
        values: Option<&ArrayRef>,
        kept: Option<&BooleanArray>,
        earlier: &[u64],
    ) -> Result<()> {
        let nulls = left_out(values, kept).filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some() && self.n.is_none() {
            self.n = Some(earlier.to_vec());
        }
        let nulls = nulls.as_ref();
        if let Some(n) = &mut self.n {
            rows.each(nulls, |g, _, times| n[g] += times);
        }
        let Some(values) = values else { return Ok(()) };
        let kind = self.kind;
        match &mut self.slots {
            Slots::None => {}
            Slots::Integers(slots) => {
                let values = numbers::<Int64Type>(values, &DataType::Int64)?;
                let values = values.values();
                match kind {
                    Kind::Min => rows.each(nulls, |g, row, _| {
                        slots[g] = slots[g].min(values[row]);
                    }),
                    Kind::Max => rows.each(nulls, |g, row, _| {
                        slots[g] = slots[g].max(values[row]);
                    }),
                    _ => rows.each(nulls, |g, row, times| {
                        let value = values[row].wrapping_mul(times as i64);
                        slots[g] = slots[g].wrapping_add(value);
                    }),
                }
            }
            Slots::Floats(slots) => {
                let values = numbers::<Float64Type>(values, &DataType::Float64)?;
                let values = values.values();
                match kind {
                    Kind::Min => rows.each(nulls, |g, row, _| {
                        slots[g] = least(slots[g], values[row]);
                    }),
                    Kind::Max => rows.each(nulls, |g, row, _| {
                        slots[g] = greatest(slots[g], values[row]);
                    }),
                    _ => rows.each(nulls, |g, row, times| {
                        slots[g] += values[row] * times as f64;
                    }),
                }
            }
            Slots::Moments(slots) => {
                let values = numbers::<Float64Type>(values, &DataType::Float64)?;
                let values = values.values();
                rows.each(nulls, |g, row, times| slots[g].add(values[row], times));
            }
        }
        Ok(())
    }

    /// Adds stored sums to group `g`.
    pub(crate) fn take_sum(&mut self, g: usize, sum: &Sum) {
        if sum.n == 0 {
            return;
        }
        let Sum {
            n,
            total,
            squares,
            min,
            max,
        } = *sum;
        match (&mut self.slots, self.kind) {
            (Slots::Integers(slots), Kind::Min) => slots[g] = slots[g].min(min as i64),
            (Slots::Integers(slots), Kind::Max) => slots[g] = slots[g].max(max as i64),
            (Slots::Integers(slots), _) => slots[g] += total as i64,
            (Slots::Floats(slots), Kind::Min) => slots[g] = least(slots[g], min),
            (Slots::Floats(slots), Kind::Max) => slots[g] = greatest(slots[g], max),
            (Slots::Floats(slots), _) => slots[g] += total,
            (Slots::Moments(slots), _) => slots[g].join(Moments {
                n,
                mean: total / n as f64,
                spread: squares - total * total / n as f64,
            }),
            (Slots::None, _) => {}
        }
        if let Some(counts) = &mut self.n {
            counts[g] += n;
        }
    }

    /// Adds the values that `other` has in some `groups`. `rows` and `other_rows` are the
    /// numbers of rows of each group so far.
    pub(crate) fn merge(
        &mut self,
        other: &Self,
        groups: &[usize],
        rows: &[u64],
        other_rows: &[u64],
    ) {
        if self.n.is_some() || other.n.is_some() {
            let theirs = other.n.as_deref().unwrap_or(other_rows);
            let ours = self.n.get_or_insert_with(|| rows.to_vec());
            groups.iter().for_each(|&g| ours[g] += theirs[g]);
        }
        match (&mut self.slots, &other.slots) {
            (Slots::Integers(ours), Slots::Integers(theirs)) => {
                for &g in groups {
                    ours[g] = match self.kind {
                        Kind::Min => theirs[g].min(ours[g]),
                        Kind::Max => theirs[g].max(ours[g]),
                        _ => ours[g].wrapping_add(theirs[g]),
                    };
                }
            }
            (Slots::Floats(ours), Slots::Floats(theirs)) => {
                for &g in groups {
                    ours[g] = match self.kind {
                        Kind::Min => least(ours[g], theirs[g]),
                        Kind::Max => greatest(ours[g], theirs[g]),
                        _ => ours[g] + theirs[g],
                    };
                }
            }
            (Slots::Moments(ours), Slots::Moments(theirs)) => {
                groups.iter().for_each(|&g| ours[g].join(theirs[g]));
            }
            _ => {}
        }
    }

    /// The state of some groups, to be sent to another process. `rows` is the number of
    /// rows of each group.
    pub(super) fn packed(&self, groups: &[usize], rows: &[u64]) -> Vec<ArrayRef> {
        fn floats<T>(groups: &[usize], slots: &[T], of: impl Fn(&T) -> f64) -> ArrayRef {
            let slots = groups.iter().map(|g| of(&slots[*g]));
            Arc::new(Float64Array::from_iter_values(slots))
        }
        let n = self.n.as_deref().unwrap_or(rows);
        let counts = |n: Vec<u64>| -> ArrayRef { Arc::new(UInt64Array::from(n)) };
        let n = counts(groups.iter().map(|g| n[*g]).collect());
        match &self.slots {
            Slots::None => vec![n],
            Slots::Integers(slots) => {
                let slots = groups.iter().map(|g| slots[*g]);
                vec![n, Arc::new(Int64Array::from_iter_values(slots))]
            }
            Slots::Floats(slots) => vec![n, floats(groups, slots, |slot| *slot)],
            Slots::Moments(slots) => vec![
                counts(groups.iter().map(|g| slots[*g].n).collect()),
                floats(groups, slots, |slot| slot.mean),
                floats(groups, slots, |slot| slot.spread),
            ],
        }
    }

    /// Sets the state of some groups to what [`Self::packed`] has packed.
    pub(super) fn unpack<'a>(
        &mut self,
        groups: &[usize],
        of_groups: usize,
        columns: &mut impl Iterator<Item = &'a ArrayRef>,
    ) {
        fn each<T: ArrowPrimitiveType>(
            groups: &[usize],
            column: Option<&ArrayRef>,
            mut set: impl FnMut(usize, T::Native),
        ) {
            let values = column.and_then(|column| column.as_primitive_opt::<T>());
            for (g, value) in groups.iter().zip(values.iter().flat_map(|v| v.values())) {
                set(*g, *value);
            }
        }
        let mut n = vec![0; of_groups];
        each::<UInt64Type>(groups, columns.next(), |g, value| n[g] = value);
        match &mut self.slots {
            Slots::None => {}
            Slots::Integers(slots) => {
                each::<Int64Type>(groups, columns.next(), |g, value| slots[g] = value);
            }
            Slots::Floats(slots) => {
                each::<Float64Type>(groups, columns.next(), |g, value| slots[g] = value);
            }
            Slots::Moments(slots) => {
                groups.iter().for_each(|g| slots[*g].n = n[*g]);
                each::<Float64Type>(groups, columns.next(), |g, value| slots[g].mean = value);
                each::<Float64Type>(groups, columns.next(), |g, value| slots[g].spread = value);
            }
        }
        self.n = Some(n);
    }

    /// The results of the groups `kept`, as an array of type `dtype`.
    /// `rows` is the number of rows of each group.
    pub(crate) fn finish(
        &self,
        kept: &[usize],
        rows: &[u64],
        dtype: &DataType,
    ) -> Result<ArrayRef> {
        let n = self.n.as_deref().unwrap_or(rows);
        let some = |g: usize| n[g] > 0;
        let array: ArrayRef = match (&self.slots, self.kind) {
            (Slots::Integers(slots), Kind::Avg) => Arc::new(Float64Array::from_iter(
                kept.iter()
                    .map(|&g| some(g).then(|| slots[g] as f64 / n[g] as f64)),
            )),
            (Slots::Floats(slots), Kind::Avg) => Arc::new(Float64Array::from_iter(
                kept.iter()
                    .map(|&g| some(g).then(|| slots[g] / n[g] as f64)),
            )),
            (Slots::Integers(slots), _) => Arc::new(Int64Array::from_iter(
                kept.iter().map(|&g| some(g).then_some(slots[g])),
            )),
            (Slots::Floats(slots), _) => Arc::new(Float64Array::from_iter(
                kept.iter().map(|&g| some(g).then_some(slots[g])),
            )),
            (Slots::Moments(slots), Kind::Spread { root, sample }) => {
                Arc::new(Float64Array::from_iter(kept.iter().map(|&g| {
                    let Moments { n, spread, .. } = slots[g];
                    let n = n.checked_sub(u64::from(sample)).filter(|n| *n > 0)?;
                    let variance = spread / n as f64;
                    Some(if root { variance.sqrt() } else { variance })
                })))
            }
            _ => Arc::new(Int64Array::from_iter_values(
                kept.iter().map(|&g| n[g] as i64),
            )),
        };
        Ok(cast(&array, dtype)?)
    }
}

/// The rows that do not count: those with a NULL, and those that a filter removes.
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

/// The minimum; a NaN is greater than all numbers, as in DuckDB.
fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b < a { b } else { a }
}

fn greatest(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}
