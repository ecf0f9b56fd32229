//! Writes datasets from Python: rows stream in, and Rust encodes them at the same
//! time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::PyRecordBatchReader;
use slaf_core::{Place, RowBlock, WritePlan, Writer as Inner};

use crate::arrays::{Data, Index};
use crate::dataset::{Dataset, coordinate_table, value_type};
use crate::errors::to_python;
use crate::wait::{wait, wait_counting};

/// A dataset that is being written or appended to. `finish` publishes it,
/// `discard` removes it, and `suspend` keeps it for a later conversion.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Writer {
    inner: Mutex<Option<Inner>>,
}

#[pymethods]
impl Writer {
    #[new]
    #[pyo3(signature = (target, shape, value_type, *, counts=false, by_gene=true, overwrite=false, fragment_rows=None, source=None, options=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        target: String,
        shape: (u64, u64),
        value_type: &str,
        counts: bool,
        by_gene: bool,
        overwrite: bool,
        fragment_rows: Option<usize>,
        source: Option<String>,
        options: Option<HashMap<String, String>>,
    ) -> PyResult<Self> {
        let plan = WritePlan {
            shape,
            value_type: self::value_type(value_type)?,
            counts,
            by_gene,
            overwrite,
            fragment_rows,
            source,
        };
        let inner = wait(py, async move {
            let place = Place::new(&target, options.unwrap_or_default()).await?;
            Inner::create(place, plan).await
        })?;
        Ok(Self::of(inner))
    }

    /// A writer for more cells of `dataset`; `shape` is the shape with them.
    #[staticmethod]
    fn append_to(
        py: Python<'_>,
        dataset: &Dataset,
        shape: (u64, u64),
        by_gene: bool,
    ) -> PyResult<Self> {
        let dataset = dataset.inner.clone();
        let inner = wait(py, async move {
            Inner::append_to(&dataset, shape, by_gene).await
        })?;
        Ok(Self::of(inner))
    }

    /// A writer for the dataset `name` inside this one.
    #[pyo3(signature = (name, shape, value_type, *, counts=false, by_gene=true, source=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn nested(
        &self,
        py: Python<'_>,
        name: &str,
        shape: (u64, u64),
        value_type: &str,
        counts: bool,
        by_gene: bool,
        source: Option<String>,
    ) -> PyResult<Self> {
        let plan = WritePlan {
            shape,
            value_type: self::value_type(value_type)?,
            counts,
            by_gene,
            // Replaces what an interrupted conversion of the same input has left.
            overwrite: true,
            fragment_rows: None,
            source,
        };
        let place = self.with(|inner| Ok(inner.place().join(name)))?;
        let inner = wait(py, async move { Inner::create(place, plan).await })?;
        Ok(Self::of(inner))
    }

    /// Number of cells that an earlier conversion has already written.
    #[getter]
    fn cells_done(&self) -> PyResult<u64> {
        self.with(|inner| Ok(inner.cells_done()))
    }

    /// The type of the stored values, by numpy's name.
    #[getter]
    fn value_type(&self) -> PyResult<&'static str> {
        self.with(|inner| Ok(inner.value_type().numpy_name()))
    }

    /// Adds the next rows of a CSR matrix. If a value cannot be stored, returns
    /// `(cell, gene, value, whether it is not a count)`.
    fn append(
        &self,
        py: Python<'_>,
        indptr: PyReadonlyArray1<'_, i64>,
        indices: Index<'_>,
        data: Data<'_>,
    ) -> PyResult<Option<(u64, u64, String, bool)>> {
        let block = RowBlock {
            indptr: indptr.as_slice()?,
            indices: indices.as_ref()?,
            data: data.as_ref()?,
        };
        let outcome = self.with(|inner| Ok(py.detach(|| inner.append(&block))))?;
        match outcome {
            Ok(()) => Ok(None),
            Err(slaf_core::Error::NotRepresentable {
                cell, gene, value, ..
            }) => Ok(Some((cell, gene, value, false))),
            Err(slaf_core::Error::NotACount { cell, gene, value }) => {
                Ok(Some((cell, gene, value, true)))
            }
            Err(other) => Err(to_python(other)),
        }
    }

    /// Ends the fragment if it has at least `rows` rows.
    fn end_fragment(&self, py: Python<'_>, rows: usize) -> PyResult<()> {
        self.with(|inner| py.detach(|| inner.end_fragment(rows)).map_err(to_python))
    }

    /// Starts the coordinate table `kind` (`layers`, `obsp`, `varp`) for
    /// matrices with `width` columns, with these names and value types.
    fn begin_pairs(
        &self,
        folder: &str,
        kind: &str,
        width: u64,
        matrices: Vec<(String, String)>,
    ) -> PyResult<PairsWriter> {
        let kind = coordinate_table(kind)?;
        let typed = |(name, dtype): (String, String)| Ok((name, value_type(&dtype)?));
        let matrices = matrices
            .into_iter()
            .map(typed)
            .collect::<PyResult<Vec<_>>>()?;
        let inner =
            self.with(|inner| Ok(inner.begin_coordinate(folder, kind, width, &matrices)))?;
        Ok(PairsWriter::of(inner))
    }

    /// Finishes a coordinate table, after all its rows have arrived.
    fn end_pairs(&self, py: Python<'_>, pairs: &PairsWriter) -> PyResult<()> {
        let pairs = pairs.take()?;
        let mut inner = self.take()?;
        let inner = wait(py, async move {
            inner.end_coordinate(pairs).await?;
            Ok(inner)
        })?;
        self.put_back(inner);
        Ok(())
    }

    /// Writes the file `name` of the dataset.
    fn write_file(&self, py: Python<'_>, name: String, content: Vec<u8>) -> PyResult<()> {
        let place = self.with(|inner| Ok(inner.place().clone()))?;
        wait(py, async move { place.put(&name, content).await })
    }

    /// Writes obs, var and `config.json` (`config` is JSON to merge into it),
    /// and publishes the dataset. The tables are streamed. `watch(done, total)`
    /// is called regularly.
    fn finish(
        &self,
        py: Python<'_>,
        cells: PyRecordBatchReader,
        genes: PyRecordBatchReader,
        config: &str,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let config =
            serde_json::from_str(config).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let (cells, genes) = (cells.into_reader()?, genes.into_reader()?);
        let inner = self.take()?;
        wait_counting(py, watch, |progress| async move {
            inner.finish(cells, genes, config, &progress).await
        })?;
        Ok(())
    }

    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        match self.take() {
            Ok(inner) => wait(py, inner.discard()),
            Err(_) => Ok(()),
        }
    }

    /// Keeps what is written, for a later conversion of the same source.
    fn suspend(&self) {
        if let Ok(inner) = self.take() {
            inner.suspend();
        }
    }
}

impl Writer {
    fn of(inner: Inner) -> Self {
        Self {
            inner: Mutex::new(Some(inner)),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> PyResult<T>) -> PyResult<T> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        act(inner.as_mut().ok_or_else(finished)?)
    }

    fn take(&self) -> PyResult<Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.take().ok_or_else(finished)
    }

    fn put_back(&self, writer: Inner) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }
}

pub(crate) fn finished() -> PyErr {
    PyValueError::new_err("this writer has finished")
}

/// A coordinate table that is being written.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct PairsWriter {
    inner: Mutex<Option<slaf_core::CoordinateWriter>>,
}

/// `(indptr, indices, data)`.
type Block<'py> = (PyReadonlyArray1<'py, i64>, Index<'py>, Data<'py>);

#[pymethods]
impl PairsWriter {
    /// Adds the next rows of every matrix. If its column cannot hold a value,
    /// returns `(index of the matrix, row, column, value)`.
    fn append(
        &self,
        py: Python<'_>,
        blocks: Vec<Block<'_>>,
    ) -> PyResult<Option<(usize, u64, i64, String)>> {
        let blocks = blocks.iter().map(|(indptr, indices, data)| {
            Ok(RowBlock {
                indptr: indptr.as_slice()?,
                indices: indices.as_ref()?,
                data: data.as_ref()?,
            })
        });
        let blocks = blocks.collect::<PyResult<Vec<_>>>()?;
        let mut inner = self.lock();
        let inner = inner.as_mut().ok_or_else(finished)?;
        let refused = py.detach(|| inner.append(&blocks)).map_err(to_python)?;
        Ok(refused.map(|r| (r.key, r.row, r.column, r.value)))
    }
}

impl PairsWriter {
    pub(crate) fn of(inner: slaf_core::CoordinateWriter) -> Self {
        Self {
            inner: Mutex::new(Some(inner)),
        }
    }

    pub(crate) fn take(&self) -> PyResult<slaf_core::CoordinateWriter> {
        self.lock().take().ok_or_else(finished)
    }

    fn lock(&self) -> MutexGuard<'_, Option<slaf_core::CoordinateWriter>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
