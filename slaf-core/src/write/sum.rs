//! Sums of stored values of a cell or a gene.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};

use crate::Result;

/// Stored zeros are included, but not counted in `nnz`.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) nnz: u64,
    pub(crate) total: f64,
    pub(crate) squares: f64,
    min: f64,
    max: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            nnz: 0,
            total: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.nnz += u64::from(value != 0.0);
        self.total += value;
        self.squares += value * value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds the sum of other values.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.nnz += other.nnz;
        self.total += other.total;
        self.squares += other.squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The least and the greatest value: 0 if there is none, NaN if all are NaN.
    pub(crate) fn extremes(&self) -> (f64, f64) {
        match self.min <= self.max {
            true => (self.min, self.max),
            false => (self.total, self.total),
        }
    }
}

/// `nnz`, `total`, `sum_of_squares`, `min` and `max` of each sum.
pub(crate) fn columns(sums: &[Sum]) -> Vec<(&'static str, ArrayRef)> {
    let float = |of: fn(&Sum) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(sums.iter().map(of)))
    };
    let nnz = Int64Array::from_iter_values(sums.iter().map(|s| s.nnz as i64));
    vec![
        ("nnz", Arc::new(nnz)),
        ("total", float(|s| s.total)),
        ("sum_of_squares", float(|s| s.squares)),
        ("min", float(|s| s.extremes().0)),
        ("max", float(|s| s.extremes().1)),
    ]
}

/// The sums as they are, to be sent: five numbers each.
pub(crate) fn packed(sums: &[Sum]) -> Result<RecordBatch> {
    let mut columns = columns(sums);
    columns[3].1 = Arc::new(Float64Array::from_iter_values(sums.iter().map(|s| s.min)));
    columns[4].1 = Arc::new(Float64Array::from_iter_values(sums.iter().map(|s| s.max)));
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// The sums that [`packed`] has packed.
pub(crate) fn unpacked(batch: &RecordBatch) -> Vec<Sum> {
    let nnz = batch.column(0).as_primitive::<Int64Type>().values();
    let float = |column: usize| batch.column(column).as_primitive::<Float64Type>().values();
    let (total, squares, min, max) = (float(1), float(2), float(3), float(4));
    let sums = (0..batch.num_rows()).map(|row| Sum {
        nnz: nnz[row] as u64,
        total: total[row],
        squares: squares[row],
        min: min[row],
        max: max[row],
    });
    sums.collect()
}
