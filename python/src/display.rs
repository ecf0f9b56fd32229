//! Displays that Python code requests.

use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use slaf_magics::{Facts, Picture};

/// `(html, text)` of where a CSR matrix has its values. `shape`, `nnz` and
/// `dtype` describe the whole matrix, of which this may be a sample.
#[pyfunction]
#[pyo3(signature = (indptr, indices, width, shape, nnz, dtype, note=""))]
pub(crate) fn picture(
    indptr: PyReadonlyArray1<'_, i64>,
    indices: PyReadonlyArray1<'_, i32>,
    width: usize,
    shape: (usize, usize),
    nnz: Option<u64>,
    dtype: &str,
    note: &str,
) -> PyResult<(String, String)> {
    let facts = Facts {
        shape,
        nnz,
        dtype,
        note,
    };
    let picture = Picture::new(indptr.as_slice()?, indices.as_slice()?, width, &facts);
    Ok((picture.html(), picture.text()))
}

/// Names that a misspelt one may have meant.
#[pyfunction]
pub(crate) fn nearest(name: &str, known: Vec<String>) -> Vec<String> {
    slaf_core::nearest(name, known.iter().map(String::as_str))
}
