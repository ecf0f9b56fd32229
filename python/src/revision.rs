//! Changes to datasets from Python: new columns and matrices, published in one
//! step.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::PyRecordBatchReader;
use slaf_core::Revision as Inner;

use crate::dataset::{Dataset, coordinate_table, value_type};
use crate::wait::wait;
use crate::writer::{PairsWriter, finished};

/// Changes to a dataset; `publish` makes them its next version.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Revision {
    inner: Mutex<Option<Inner>>,
}

#[pymethods]
impl Revision {
    #[new]
    fn new(py: Python<'_>, dataset: &Dataset) -> PyResult<Self> {
        let dataset = dataset.inner.clone();
        let inner = wait(py, async move { Inner::new(&dataset).await })?;
        Ok(Self {
            inner: Mutex::new(Some(inner)),
        })
    }

    /// Adds columns to `table`, or replaces those of the same names.
    fn put(&self, py: Python<'_>, table: String, columns: PyRecordBatchReader) -> PyResult<()> {
        let columns = columns.into_reader()?;
        let mut inner = self.take()?;
        let inner = wait(py, async move {
            inner.put(&table, columns).await?;
            Ok(inner)
        })?;
        self.put_back(inner);
        Ok(())
    }

    /// Removes columns from `table`.
    fn drop_columns(&self, py: Python<'_>, table: String, names: Vec<String>) -> PyResult<()> {
        let mut inner = self.take()?;
        let inner = wait(py, async move {
            inner.drop_columns(&table, &names).await?;
            Ok(inner)
        })?;
        self.put_back(inner);
        Ok(())
    }

    /// Starts writing matrices of `kind` (`layers`, `obsp`, `varp`) with
    /// `width` columns, in addition to the existing ones or instead of them.
    fn begin_pairs(
        &self,
        py: Python<'_>,
        kind: &str,
        width: u64,
        matrices: Vec<(String, String)>,
        replace: bool,
    ) -> PyResult<PairsWriter> {
        let kind = coordinate_table(kind)?;
        let typed = |(name, dtype): (String, String)| Ok((name, value_type(&dtype)?));
        let matrices = matrices
            .into_iter()
            .map(typed)
            .collect::<PyResult<Vec<_>>>()?;
        let mut inner = self.take()?;
        let (inner, begun) = wait(py, async move {
            let begun = inner
                .begin_coordinate(kind, width, &matrices, replace)
                .await?;
            Ok((inner, begun))
        })?;
        self.put_back(inner);
        Ok(PairsWriter::of(begun))
    }

    /// Finishes what `begin_pairs` started, after all rows have arrived.
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
        let inner = self.take()?;
        let place = inner.place().clone();
        self.put_back(inner);
        wait(py, async move { place.put(&name, content).await })
    }

    /// Publishes the changes with `config`, the complete `config.json`; returns
    /// the version number.
    fn publish(&self, py: Python<'_>, config: &str, operation: String) -> PyResult<u64> {
        let config =
            serde_json::from_str(config).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let inner = self.take()?;
        let manifest = wait(py, async move { inner.publish(config, &operation).await })?;
        Ok(manifest.version)
    }
}

impl Revision {
    fn take(&self) -> PyResult<Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.take().ok_or_else(finished)
    }

    fn put_back(&self, revision: Inner) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Some(revision);
    }
}
