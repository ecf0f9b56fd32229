//! Conversion between numpy and the engine: CSR arrays are views of Rust buffers.

use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::prelude::*;
use slaf_core::{Csr, Indices, Selection, Values, ValuesRef};

/// `(start, step, length)`, or positions as int64.
#[derive(FromPyObject)]
pub(crate) enum Axis<'py> {
    Range(u64, i64, u64),
    List(PyReadonlyArray1<'py, i64>),
}

impl Axis<'_> {
    /// A negative position becomes one that is out of range, which the engine
    /// rejects.
    pub(crate) fn selection(&self) -> PyResult<Selection> {
        Ok(match self {
            Self::Range(start, step, len) => Selection::Range {
                start: *start,
                step: *step,
                len: *len,
            },
            Self::List(list) => {
                Selection::List(list.as_slice()?.iter().map(|&i| i as u64).collect())
            }
        })
    }
}

/// A 1-d array of column indices.
#[derive(FromPyObject)]
pub(crate) enum Index<'py> {
    I32(PyReadonlyArray1<'py, i32>),
    I64(PyReadonlyArray1<'py, i64>),
}

impl Index<'_> {
    pub(crate) fn as_ref(&self) -> PyResult<Indices<'_>> {
        Ok(match self {
            Self::I32(v) => Indices::I32(v.as_slice()?),
            Self::I64(v) => Indices::I64(v.as_slice()?),
        })
    }
}

/// A 1-d array with one of the dtypes of matrix values.
#[derive(FromPyObject)]
pub(crate) enum Data<'py> {
    U16(PyReadonlyArray1<'py, u16>),
    I32(PyReadonlyArray1<'py, i32>),
    I64(PyReadonlyArray1<'py, i64>),
    F32(PyReadonlyArray1<'py, f32>),
    F64(PyReadonlyArray1<'py, f64>),
}

impl Data<'_> {
    pub(crate) fn as_ref(&self) -> PyResult<ValuesRef<'_>> {
        Ok(match self {
            Self::U16(v) => ValuesRef::U16(v.as_slice()?),
            Self::I32(v) => ValuesRef::I32(v.as_slice()?),
            Self::I64(v) => ValuesRef::I64(v.as_slice()?),
            Self::F32(v) => ValuesRef::F32(v.as_slice()?),
            Self::F64(v) => ValuesRef::F64(v.as_slice()?),
        })
    }
}

/// `(indptr, indices, data)`; each array owns the engine's buffer. As scipy
/// requires, indptr is int32 like indices, unless its numbers are too large.
pub(crate) fn csr_to_numpy(py: Python<'_>, csr: Csr) -> (Py<PyAny>, Py<PyAny>, Py<PyAny>) {
    let narrow: Option<Vec<i32>> = csr.indptr.iter().map(|v| i32::try_from(*v).ok()).collect();
    let indptr = match narrow {
        Some(indptr) => indptr.into_pyarray(py).into_any(),
        None => csr.indptr.into_pyarray(py).into_any(),
    };
    let data = values_to_numpy(py, csr.data);
    let indices = csr.indices.into_pyarray(py).into_any();
    (indptr.unbind(), indices.unbind(), data)
}

/// An array that owns the engine's buffer.
pub(crate) fn values_to_numpy(py: Python<'_>, values: Values) -> Py<PyAny> {
    let array = match values {
        Values::U16(v) => v.into_pyarray(py).into_any(),
        Values::I32(v) => v.into_pyarray(py).into_any(),
        Values::I64(v) => v.into_pyarray(py).into_any(),
        Values::F32(v) => v.into_pyarray(py).into_any(),
        Values::F64(v) => v.into_pyarray(py).into_any(),
    };
    array.unbind()
}
