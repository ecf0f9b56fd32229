//! A sparse matrix in CSR format: scipy's three arrays, mapped into memory.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, cast::AsArray};
use arrow_buffer::ScalarBuffer;

use crate::column::{Value, numbers};
use crate::{Error, Result};

/// A sparse matrix in CSR format: row `i` has the values `values()[row(i)]` in
/// the columns `indices()[row(i)]`. All three arrays are slices that can be
/// kept in variables.
#[derive(Debug, Clone)]
pub struct Csr {
    shape: (usize, usize),
    indptr: ScalarBuffer<i64>,
    indices: ScalarBuffer<i32>,
    data: ArrayRef,
}

impl Csr {
    pub(crate) fn new(shape: (usize, usize), columns: &[(String, ArrayRef)]) -> Result<Self> {
        let broken = || Error("The session's matrix is not a valid CSR matrix.".into());
        let [(_, indptr), (_, indices), (_, data)] = columns else {
            return Err(broken());
        };
        let indptr = indptr
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(broken)?
            .values();
        let indices = indices
            .as_primitive_opt::<Int32Type>()
            .ok_or_else(broken)?
            .values();
        let ends = (indptr.first(), indptr.last());
        let rises = indptr.is_sorted() && ends == (Some(&0), Some(&(indices.len() as i64)));
        let whole = indptr.len() == shape.0 + 1 && data.len() == indices.len();
        if !rises || !whole {
            return Err(broken());
        }
        Ok(Self {
            shape,
            indptr: indptr.clone(),
            indices: indices.clone(),
            data: Arc::clone(data),
        })
    }

    /// Number of rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    pub fn rows(&self) -> usize {
        self.shape.0
    }

    pub fn columns(&self) -> usize {
        self.shape.1
    }

    /// Number of stored values.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// The start of each row, and the end of the last.
    pub fn indptr(&self) -> ScalarBuffer<i64> {
        self.indptr.clone()
    }

    /// The column of each stored value.
    pub fn indices(&self) -> ScalarBuffer<i32> {
        self.indices.clone()
    }

    /// The stored values, if they are of type `T`: `x.values::<f32>()?`.
    ///
    /// # Errors
    ///
    /// They are of another type.
    pub fn values<T: Value>(&self) -> Result<ScalarBuffer<T>> {
        numbers(&self.data, "The matrix")
    }

    /// The range of row `i` in [`Csr::indices`] and [`Csr::values`].
    pub fn row(&self, i: usize) -> Range<usize> {
        self.indptr[i] as usize..self.indptr[i + 1] as usize
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float32Array, Int32Array, Int64Array};

    use super::*;

    fn columns(indptr: Vec<i64>) -> Vec<(String, ArrayRef)> {
        let arrays: [ArrayRef; 3] = [
            Arc::new(Int64Array::from(indptr)),
            Arc::new(Int32Array::from(vec![1, 0, 2])),
            Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0])),
        ];
        arrays.map(|array| (String::new(), array)).into()
    }

    #[test]
    fn rows_of_a_matrix() {
        let x = Csr::new((3, 3), &columns(vec![0, 1, 1, 3])).unwrap();
        assert_eq!((x.shape(), x.nnz()), ((3, 3), 3));
        assert_eq!(x.row(1), 1..1);
        assert_eq!(x.values::<f32>().unwrap()[x.row(2)], [2.0, 3.0]);
        assert_eq!(x.indices()[x.row(2)], [0, 2]);
        let error = x.values::<u16>().unwrap_err().to_string();
        assert_eq!(
            error,
            "The matrix holds f32, not u16. Ask for `values::<f32>`."
        );
    }

    #[test]
    fn rows_that_do_not_fit_are_an_error() {
        for indptr in [
            vec![0, 1, 3],
            vec![0, 2, 1, 3],
            vec![0, 1, 1, 4],
            vec![1, 1, 1, 3],
        ] {
            assert!(Csr::new((3, 3), &columns(indptr)).is_err());
        }
    }
}
