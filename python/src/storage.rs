//! Places and versions of datasets, and arrays of HDF5 files, for Python.

use std::collections::HashMap;
use std::path::PathBuf;

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use slaf_core::upkeep;
use slaf_core::{ChunkedArray, Filter, Manifest, Number, Place, RowsOfColumns};

use crate::arrays::{Data, Index, csr_to_numpy, values_to_numpy};
use crate::dataset::{Dataset, value_type};
use crate::errors::to_python;
use crate::wait::{wait, wait_counting};

type Options = Option<HashMap<String, String>>;

/// A version: number, parent, operation, time, cells, genes.
pub(crate) type Version = (u64, Option<u64>, String, String, u64, u64);

pub(crate) fn version(manifest: Manifest) -> Version {
    let (cells, genes) = manifest.shape;
    let Manifest {
        version,
        parent,
        operation,
        at,
        ..
    } = manifest;
    (version, parent, operation, at, cells, genes)
}

async fn place(uri: String, options: Options) -> slaf_core::Result<Place> {
    Place::new(&uri, options.unwrap_or_default()).await
}

/// Whether there is a dataset, or any local folder, at `uri`.
#[pyfunction]
#[pyo3(signature = (uri, options=None))]
pub(crate) fn exists(py: Python<'_>, uri: String, options: Options) -> PyResult<bool> {
    wait(
        py,
        async move { place(uri, options).await?.occupied().await },
    )
}

/// Copies the file at `uri` to the local path `path`.
#[pyfunction]
#[pyo3(signature = (uri, path, options=None))]
pub(crate) fn download(
    py: Python<'_>,
    uri: String,
    path: PathBuf,
    options: Options,
) -> PyResult<()> {
    wait(py, async move {
        let (folder, name) = parted(&uri);
        place(folder, options).await?.download(&name, &path).await
    })
}

/// Size of the file at `uri` in bytes.
#[pyfunction]
#[pyo3(signature = (uri, options=None))]
pub(crate) fn file_size(py: Python<'_>, uri: String, options: Options) -> PyResult<u64> {
    wait(py, async move {
        let (folder, name) = parted(&uri);
        place(folder, options).await?.size(&name).await
    })
}

/// Bytes `start` to `end` of the file at `uri`.
#[pyfunction]
#[pyo3(signature = (uri, start, end, options=None))]
pub(crate) fn read_range(
    py: Python<'_>,
    uri: String,
    start: u64,
    end: u64,
    options: Options,
) -> PyResult<Bound<'_, PyBytes>> {
    let read = wait(py, async move {
        let (folder, name) = parted(&uri);
        let place = place(folder, options).await?;
        place.read_range(&name, start..end).await
    })?;
    Ok(PyBytes::new(py, &read))
}

/// Copies the local file `path` to `uri`. `watch(done, total)` is called regularly with
/// the bytes.
#[pyfunction]
#[pyo3(signature = (path, uri, options=None, watch=None))]
pub(crate) fn upload(
    py: Python<'_>,
    path: PathBuf,
    uri: String,
    options: Options,
    watch: Option<Py<PyAny>>,
) -> PyResult<()> {
    wait_counting(py, watch, |progress| async move {
        let (folder, name) = parted(&uri);
        let place = place(folder, options).await?;
        place.upload(&path, &name, &progress).await
    })
}

/// The folder and the name of a file.
fn parted(uri: &str) -> (String, String) {
    let (folder, name) = uri.rsplit_once('/').unwrap_or((".", uri));
    (folder.to_owned(), name.to_owned())
}

/// The versions of a dataset, newest first.
#[pyfunction]
#[pyo3(signature = (uri, options=None))]
pub(crate) fn history(py: Python<'_>, uri: String, options: Options) -> PyResult<Vec<Version>> {
    let found = wait(py, async move {
        upkeep::history(&place(uri, options).await?).await
    })?;
    Ok(found.into_iter().map(version).collect())
}

/// Removes all versions except the newest `keep`; returns which, and how many
/// bytes.
#[pyfunction]
#[pyo3(signature = (uri, keep, options=None, watch=None))]
pub(crate) fn vacuum(
    py: Python<'_>,
    uri: String,
    keep: usize,
    options: Options,
    watch: Option<Py<PyAny>>,
) -> PyResult<(Vec<u64>, u64)> {
    let done = wait_counting(py, watch, |progress| async move {
        upkeep::vacuum(&place(uri, options).await?, keep, &progress).await
    })?;
    Ok((done.versions, done.bytes))
}

/// Writes the correct row offsets; `None` if they are already correct. `watch(done,
/// total)` is called regularly with the rows of X.
#[pyfunction]
#[pyo3(signature = (dataset, watch=None))]
pub(crate) fn repair(
    py: Python<'_>,
    dataset: &Dataset,
    watch: Option<Py<PyAny>>,
) -> PyResult<Option<Version>> {
    let dataset = dataset.inner.clone();
    let done = wait_counting(py, watch, |progress| async move {
        upkeep::repair(&dataset, &progress).await
    })?;
    Ok(done.map(version))
}

/// A one-dimensional array of an HDF5 file, read without the HDF5 library.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Chunks {
    inner: ChunkedArray,
}

#[pymethods]
impl Chunks {
    /// `chunks` are `(offset, size, filter mask)`. `filters` are some of
    /// `shuffle`, `gzip` and `zstd`, in the order of writing.
    #[new]
    fn new(
        path: PathBuf,
        dtype: &str,
        len: usize,
        chunk: usize,
        filters: Vec<String>,
        chunks: Vec<(u64, u64, u32)>,
    ) -> PyResult<Self> {
        let number = Number::from_numpy(dtype)
            .ok_or_else(|| PyValueError::new_err(format!("no array of {dtype}")))?;
        let filters = filters
            .iter()
            .map(|name| match name.as_str() {
                "shuffle" => Ok(Filter::Shuffle),
                "gzip" => Ok(Filter::Deflate),
                "zstd" => Ok(Filter::Zstd),
                other => Err(PyValueError::new_err(format!("no filter {other}"))),
            })
            .collect::<PyResult<_>>()?;
        let inner = ChunkedArray::open(&path, number, len, chunk, filters, chunks);
        Ok(Self {
            inner: inner.map_err(to_python)?,
        })
    }

    /// Values `start` to `end` as an array.
    fn read(&self, py: Python<'_>, start: usize, end: usize) -> PyResult<Py<PyAny>> {
        let values = py
            .detach(|| self.inner.read(start..end))
            .map_err(to_python)?;
        Ok(values_to_numpy(py, values))
    }
}

/// The rows of a CSC matrix, in limited memory.
#[pyclass(module = "slaf._slaf")]
pub(crate) struct Transposer {
    inner: RowsOfColumns,
}

#[pymethods]
impl Transposer {
    #[new]
    fn new(rows: usize, dtype: &str) -> PyResult<Self> {
        let inner = RowsOfColumns::new(rows, value_type(dtype)?).map_err(to_python)?;
        Ok(Self { inner })
    }

    /// Adds the next columns.
    fn push(
        &mut self,
        py: Python<'_>,
        indptr: PyReadonlyArray1<'_, i64>,
        rows: Index<'_>,
        data: Data<'_>,
    ) -> PyResult<()> {
        let (indptr, rows, data) = (indptr.as_slice()?, rows.as_ref()?, data.as_ref()?);
        py.detach(|| self.inner.push(indptr, rows, data))
            .map_err(to_python)
    }

    /// `(indptr, indices, data)` of the next rows, beginning with `first`;
    /// `None` after the last.
    fn rows_from(
        &self,
        py: Python<'_>,
        first: usize,
    ) -> PyResult<Option<(Py<PyAny>, Py<PyAny>, Py<PyAny>)>> {
        let rows = py
            .detach(|| self.inner.rows_from(first))
            .map_err(to_python)?;
        Ok(rows.map(|csr| csr_to_numpy(py, csr)))
    }
}
