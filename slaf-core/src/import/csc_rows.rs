//! The rows of a CSC matrix, which is stored by column, in limited memory.

use arrow::array::ArrowNativeTypeOp;
use arrow::datatypes::ArrowNativeType;

use crate::matrix::transposer::Transposer;
use crate::{Csr, Error, Indices, Result, ValueType, Values, ValuesRef};

/// The rows of a CSC matrix: takes columns, and returns rows.
pub struct RowsOfColumns {
    inner: AnyTransposer,
    columns: u32,
}

enum AnyTransposer {
    U16(Transposer<u16>),
    I32(Transposer<i32>),
    I64(Transposer<i64>),
    F32(Transposer<f32>),
    F64(Transposer<f64>),
}

impl RowsOfColumns {
    /// For a matrix with `rows` rows. It is kept in a file in the folder for
    /// temporary files.
    pub fn new(rows: usize, values: ValueType) -> Result<Self> {
        let at = std::env::temp_dir();
        Ok(Self {
            inner: match values {
                ValueType::U16 => AnyTransposer::U16(Transposer::new(rows, &at)?),
                ValueType::I32 => AnyTransposer::I32(Transposer::new(rows, &at)?),
                ValueType::I64 => AnyTransposer::I64(Transposer::new(rows, &at)?),
                ValueType::F32 => AnyTransposer::F32(Transposer::new(rows, &at)?),
                ValueType::F64 => AnyTransposer::F64(Transposer::new(rows, &at)?),
            },
            columns: 0,
        })
    }

    /// Adds the next columns; `indptr` has one more entry than there are
    /// columns.
    pub fn push(&mut self, indptr: &[i64], rows: Indices<'_>, values: ValuesRef<'_>) -> Result<()> {
        let height = self.rows();
        let count = rows.len();
        let well = indptr.windows(2).all(|p| p[0] <= p[1])
            && indptr.first().zip(indptr.last()).map(|(a, b)| b - a) == Some(count as i64)
            && values.len() == count
            && (0..count).all(|at| (0..height as i64).contains(&rows.at(at)));
        if !well {
            return Err(Error::BadMatrix {
                reason: format!("columns from {} on do not fit {height} rows", self.columns),
            });
        }
        let mut columns = Vec::with_capacity(count);
        for pair in indptr.windows(2) {
            columns.resize(columns.len() + (pair[1] - pair[0]) as usize, self.columns);
            self.columns += 1;
        }
        match (&mut self.inner, values) {
            (AnyTransposer::U16(t), ValuesRef::U16(v)) => push(t, &columns, rows, v),
            (AnyTransposer::I32(t), ValuesRef::I32(v)) => push(t, &columns, rows, v),
            (AnyTransposer::I64(t), ValuesRef::I64(v)) => push(t, &columns, rows, v),
            (AnyTransposer::F32(t), ValuesRef::F32(v)) => push(t, &columns, rows, v),
            (AnyTransposer::F64(t), ValuesRef::F64(v)) => push(t, &columns, rows, v),
            _ => Err(Error::BadMatrix {
                reason: "the type of its values changes".into(),
            }),
        }
    }

    fn rows(&self) -> usize {
        match &self.inner {
            AnyTransposer::U16(t) => t.counts().len(),
            AnyTransposer::I32(t) => t.counts().len(),
            AnyTransposer::I64(t) => t.counts().len(),
            AnyTransposer::F32(t) => t.counts().len(),
            AnyTransposer::F64(t) => t.counts().len(),
        }
    }

    /// The next rows, beginning with `first`; `None` after the last.
    pub fn rows_from(&self, first: usize) -> Result<Option<Csr>> {
        match &self.inner {
            AnyTransposer::U16(t) => self.csr(t, first, Values::U16),
            AnyTransposer::I32(t) => self.csr(t, first, Values::I32),
            AnyTransposer::I64(t) => self.csr(t, first, Values::I64),
            AnyTransposer::F32(t) => self.csr(t, first, Values::F32),
            AnyTransposer::F64(t) => self.csr(t, first, Values::F64),
        }
    }

    fn csr<T: ArrowNativeType + ArrowNativeTypeOp>(
        &self,
        transposer: &Transposer<T>,
        first: usize,
        wrap: fn(Vec<T>) -> Values,
    ) -> Result<Option<Csr>> {
        Ok(transposer.collect(first)?.map(|rows| Csr {
            shape: (rows.columns.len(), self.columns as usize),
            indptr: rows.indptr,
            indices: rows.rows.into_iter().map(|c| c as i32).collect(),
            data: wrap(rows.values),
        }))
    }
}

fn push<T: ArrowNativeType + ArrowNativeTypeOp>(
    into: &mut Transposer<T>,
    columns: &[u32],
    rows: Indices<'_>,
    values: &[T],
) -> Result<()> {
    match rows {
        Indices::I32(rows) => into.push(columns, rows, values),
        Indices::I64(rows) => into.push(columns, rows, values),
    }
}
