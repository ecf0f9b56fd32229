//! Writing datasets from Python: rows stream in, Rust encodes beside it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use slaf_core::{Csr, RowBlock, Writer as Inner, union, write_table};

use crate::arrays::Data;
use crate::dataset::{pairs, value_type};
use crate::errors::to_python;

/// A dataset under construction; `finish` publishes it, `discard` removes it.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Writer {
    inner: Mutex<Option<Inner>>,
}

#[pymethods]
impl Writer {
    #[new]
    #[pyo3(signature = (target, shape, value_type, overwrite=false))]
    fn new(
        target: PathBuf,
        shape: (u64, u64),
        value_type: &str,
        overwrite: bool,
    ) -> PyResult<Self> {
        let value_type = self::value_type(value_type)?;
        let inner = Inner::create(&target, shape, value_type, overwrite).map_err(to_python)?;
        Ok(Self {
            inner: Mutex::new(Some(inner)),
        })
    }

    /// The folder that becomes the dataset.
    #[getter]
    fn staging(&self) -> PyResult<PathBuf> {
        self.with(|inner| Ok(inner.staging().to_owned()))
    }

    /// The next rows of a CSR matrix. `False` if the value type cannot hold one
    /// of the values.
    fn append(
        &self,
        py: Python<'_>,
        indptr: PyReadonlyArray1<'_, i64>,
        indices: PyReadonlyArray1<'_, i64>,
        data: Data<'_>,
    ) -> PyResult<bool> {
        let (indptr, indices) = (indptr.as_slice()?, indices.as_slice()?);
        let data = data.values()?;
        let block = RowBlock {
            indptr,
            indices,
            data: &data,
        };
        let outcome = self.with(|inner| Ok(py.detach(|| inner.append(&block))))?;
        match outcome {
            Ok(()) => Ok(true),
            Err(slaf_core::Error::NotRepresentable { .. }) => Ok(false),
            Err(other) => Err(to_python(other)),
        }
    }

    /// Writes obs, var and `config.json` (`config` is JSON to merge in), and
    /// publishes the dataset.
    fn finish(&self, py: Python<'_>, cells: PyTable, genes: PyTable, config: &str) -> PyResult<()> {
        let config =
            serde_json::from_str(config).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let (cells, genes) = (one_batch(cells)?, one_batch(genes)?);
        let inner = self.take()?;
        py.detach(|| inner.finish(cells, genes, config))
            .map_err(to_python)
    }

    fn discard(&self) {
        drop(self.take());
    }
}

impl Writer {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> PyResult<T>) -> PyResult<T> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        act(inner.as_mut().ok_or_else(finished)?)
    }

    fn take(&self) -> PyResult<Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.take().ok_or_else(finished)
    }
}

fn finished() -> PyErr {
    PyValueError::new_err("this writer has finished")
}

fn one_batch(table: PyTable) -> PyResult<arrow::array::RecordBatch> {
    let (batches, schema) = table.into_inner();
    arrow::compute::concat_batches(&schema, &batches)
        .map_err(|e| PyValueError::new_err(e.to_string()))
}

/// `(key, indptr, indices, data)`.
type Named<'py> = (
    String,
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, i32>,
    Data<'py>,
);

/// Writes the coordinate table `kind` (`layers`, `obsp`, `varp`) of CSR
/// matrices with sorted rows and `width` columns as a Lance table at `path`.
#[pyfunction]
pub(crate) fn write_pairs(
    py: Python<'_>,
    path: PathBuf,
    kind: &str,
    width: usize,
    matrices: Vec<Named<'_>>,
) -> PyResult<()> {
    let kind = pairs(kind)?;
    let mut named = vec![];
    for (key, indptr, indices, data) in matrices {
        let indptr = indptr.as_slice()?.to_vec();
        let csr = Csr {
            shape: (indptr.len() - 1, width),
            indptr,
            indices: indices.as_slice()?.to_vec(),
            data: data.values()?,
        };
        named.push((key, csr));
    }
    py.detach(|| write_table(&path, union(kind, &named)?))
        .map_err(to_python)
}
