//! Nearest neighbours, for Python.

use arrow::buffer::BooleanBuffer;
use numpy::{
    IntoPyArray, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use slaf_core::search::{self, Metric, Neighbours, Question};
use slaf_core::upkeep;

use crate::dataset::Dataset;
use crate::errors::to_python;
use crate::storage::{Version, version};
use crate::wait::{wait, wait_counting};

/// `(metric, partitions, partitions visited, recall)`.
type Index = (&'static str, usize, usize, f64);

/// Rows and distances: queries × k.
type Found = (Py<PyAny>, Py<PyAny>);

fn metric(name: &str) -> PyResult<Metric> {
    Metric::from_name(name).ok_or_else(|| {
        let names = Metric::NAMES.map(|name| format!("`{name}`")).join(", ");
        PyValueError::new_err(format!("There is no metric `{name}`. There are {names}."))
    })
}

fn question(
    queries: &PyReadonlyArray2<'_, f32>,
    k: usize,
    metric_name: &str,
    among: Option<&PyReadonlyArray1<'_, bool>>,
) -> PyResult<Question> {
    let among = among.map(|among| among.as_slice()).transpose()?;
    Ok(Question {
        queries: queries.as_slice()?.to_vec(),
        width: queries.shape()[1],
        k,
        metric: metric(metric_name)?,
        among: among.map(BooleanBuffer::from),
    })
}

fn found(py: Python<'_>, neighbours: Neighbours) -> PyResult<Found> {
    let shape = [neighbours.rows.len() / neighbours.k, neighbours.k];
    Ok((
        neighbours
            .rows
            .into_pyarray(py)
            .reshape(shape)?
            .into_any()
            .unbind(),
        neighbours
            .distances
            .into_pyarray(py)
            .reshape(shape)?
            .into_any()
            .unbind(),
    ))
}

/// The nearest rows in a column of vectors: exact, or through its index in
/// `visited` partitions.
#[pyfunction]
#[pyo3(signature = (dataset, table, column, queries, k, metric, among=None, visited=None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
pub(crate) fn nearest_rows(
    py: Python<'_>,
    dataset: &Dataset,
    table: String,
    column: String,
    queries: PyReadonlyArray2<'_, f32>,
    k: usize,
    metric: &str,
    among: Option<PyReadonlyArray1<'_, bool>>,
    visited: Option<usize>,
) -> PyResult<Found> {
    let question = question(&queries, k, metric, among.as_ref())?;
    let dataset = dataset.inner.clone();
    let neighbours = wait(py, async move {
        match visited {
            None => dataset.nearest(&table, &column, &question).await,
            Some(n) => {
                dataset
                    .nearest_by_index(&table, &column, &question, n)
                    .await
            }
        }
    })?;
    found(py, neighbours)
}

/// The exact nearest rows of an array.
#[pyfunction]
#[pyo3(signature = (vectors, queries, k, metric, among=None))]
pub(crate) fn nearest_of(
    py: Python<'_>,
    vectors: PyReadonlyArray2<'_, f32>,
    queries: PyReadonlyArray2<'_, f32>,
    k: usize,
    metric: &str,
    among: Option<PyReadonlyArray1<'_, bool>>,
) -> PyResult<Found> {
    let question = question(&queries, k, metric, among.as_ref())?;
    let width = vectors.shape()[1];
    let vectors = vectors.as_slice()?;
    let neighbours = py.detach(|| search::exact(vectors, width, &question));
    found(py, neighbours.map_err(to_python)?)
}

/// The index of a column of vectors, or `None`.
#[pyfunction]
pub(crate) fn vector_index(
    py: Python<'_>,
    dataset: &Dataset,
    table: String,
    column: String,
) -> PyResult<Option<Index>> {
    let dataset = dataset.inner.clone();
    let index = wait(py, async move {
        search::vector_index(&dataset, &table, &column).await
    })?;
    Ok(index.map(told))
}

/// Builds an index of a column of vectors, as a new version of the dataset.
#[pyfunction]
#[pyo3(signature = (dataset, table, column, metric, partitions=None, watch=None))]
pub(crate) fn index_vectors(
    py: Python<'_>,
    dataset: &Dataset,
    table: String,
    column: String,
    metric: &str,
    partitions: Option<usize>,
    watch: Option<Py<PyAny>>,
) -> PyResult<(Version, Index)> {
    let dataset = dataset.inner.clone();
    let metric = self::metric(metric)?;
    let (manifest, index) = wait_counting(py, watch, |progress| async move {
        upkeep::index_vectors(&dataset, &table, &column, metric, partitions, progress).await
    })?;
    Ok((version(manifest), told(index)))
}

fn told(index: search::VectorIndex) -> Index {
    (
        index.metric.name(),
        index.partitions,
        index.visited,
        index.recall,
    )
}
