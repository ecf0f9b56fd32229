//! Displays that Python code requests, each as `(html, text)`.

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use slaf_magics::{Card, Compressed, PlanView, SparseView, TableView, Whole};

/// Draws an object that is described as JSON; see `Card` of the crate `slaf-magics`.
#[pyfunction]
pub(crate) fn draw_card(description: &str) -> PyResult<(String, String)> {
    let card: Card =
        serde_json::from_str(description).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok((card.html(), card.text()))
}

/// Draws a plan from the lines of EXPLAIN.
#[pyfunction]
pub(crate) fn draw_plan(lines: Vec<String>) -> (String, String) {
    let view = PlanView { lines: &lines };
    (view.html(), view.text())
}

/// The three arrays of a compressed matrix.
type PyCompressed<'py> = (
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i32>,
    PyReadonlyArray1<'py, f64>,
);

/// Draws a CSR matrix or, if `turned`, a CSC matrix. `drawn` has all of its rows
/// (columns), or an evenly spread sample; `corner`, of shape `corner_shape`, has the
/// first rows and columns, and `names` their names.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
#[pyo3(signature = (drawn, corner, *, turned, shape, corner_shape, nnz, dtype, bytes, names))]
pub(crate) fn draw_sparse(
    drawn: PyCompressed<'_>,
    corner: PyCompressed<'_>,
    turned: bool,
    shape: (usize, usize),
    corner_shape: (usize, usize),
    nnz: u64,
    dtype: &str,
    bytes: u64,
    names: (Vec<String>, Vec<String>),
) -> PyResult<(String, String)> {
    let view = SparseView {
        drawn: compressed(&drawn)?,
        corner: compressed(&corner)?,
        turned,
        shape,
        corner_shape,
        nnz,
        dtype,
        bytes,
        names: [names.0, names.1],
    };
    Ok((view.html(), view.text()))
}

fn compressed<'a>((indptr, indices, values): &'a PyCompressed<'_>) -> PyResult<Compressed<'a>> {
    Ok(Compressed {
        indptr: indptr.as_slice()?,
        indices: indices.as_slice()?,
        values: values.as_slice()?,
    })
}

/// Draws an Arrow table. If it holds only the first and last rows and the first columns
/// of a larger one, `whole` has that table's numbers of rows and columns, and the type
/// and a summary of each column shown.
#[pyfunction]
#[pyo3(signature = (table, note, *, whole=None))]
pub(crate) fn draw_table(
    table: PyTable,
    note: &str,
    whole: Option<(usize, usize, Vec<(String, String)>)>,
) -> PyResult<(String, String)> {
    let (batches, schema) = table.into_inner();
    let whole = whole.map(|(rows, columns, heads)| Whole {
        rows,
        columns,
        heads,
    });
    if whole
        .as_ref()
        .is_some_and(|w| w.heads.len() != schema.fields().len())
    {
        return Err(PyValueError::new_err(
            "each column needs a type and a summary",
        ));
    }
    let view = TableView {
        schema: &schema,
        batches: &batches,
        note,
        warnings: &[],
        whole,
    };
    Ok((view.html(), view.text()))
}

/// Known names that resemble a misspelt one.
#[pyfunction]
pub(crate) fn nearest(name: &str, known: Vec<String>) -> Vec<String> {
    slaf_core::nearest(name, known.iter().map(String::as_str))
}
