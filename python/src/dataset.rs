//! An open dataset, as a Python class.

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::array::RecordBatch;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::PyTable;
use slaf_core::{CoordinateTable, Dataset as Inner, Place, ValueType};

use crate::arrays::{Axis, csr_to_numpy};
use crate::errors::to_python;
use crate::wait::wait;

/// A SLAF dataset: configuration, tables and matrices.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Dataset {
    pub(crate) inner: Inner,
}

type Arrays = (Py<PyAny>, Py<PyAny>, Py<PyAny>);

#[pymethods]
impl Dataset {
    #[new]
    #[pyo3(signature = (uri, version=None, options=None))]
    fn new(
        py: Python<'_>,
        uri: String,
        version: Option<u64>,
        options: Option<HashMap<String, String>>,
    ) -> PyResult<Self> {
        let inner = wait(py, async move {
            let place = Place::new(&uri, options.unwrap_or_default()).await?;
            Inner::open_at(place, version).await
        })?;
        Ok(Self { inner })
    }

    /// The dataset `name` inside this one, at `version`.
    fn nested(&self, py: Python<'_>, name: &str, version: Option<u64>) -> PyResult<Self> {
        let place = self.inner.place.join(name);
        let inner = wait(py, async move { Inner::open_at(place, version).await })?;
        Ok(Self { inner })
    }

    /// The newest version of the dataset.
    fn newest(&self, py: Python<'_>) -> PyResult<Self> {
        let place = self.inner.place.clone();
        let inner = wait(py, async move { Inner::open_at(place, None).await })?;
        Ok(Self { inner })
    }

    #[getter]
    fn uri(&self) -> &str {
        self.inner.place.uri()
    }

    /// The settings of the object store.
    #[getter]
    fn options(&self) -> HashMap<String, String> {
        self.inner.place.options()
    }

    /// The version number; `None` if there is no manifest.
    #[getter]
    fn version(&self) -> Option<u64> {
        self.inner.config.manifest().map(|m| m.version)
    }

    /// The content of a file of the dataset, or `None`.
    fn file(&self, py: Python<'_>, name: String) -> PyResult<Option<Cow<'static, [u8]>>> {
        let place = self.inner.place.clone();
        let found = wait(py, async move { place.read(&name).await })?;
        Ok(found.map(|bytes| Cow::Owned(bytes.to_vec())))
    }

    /// Whether the gene-major copy exists, and whether the sums exist; both
    /// only if they are up to date.
    fn companions(&self, py: Python<'_>) -> PyResult<(bool, bool)> {
        let dataset = self.inner.clone();
        wait(py, async move {
            let found = dataset.companions().await?;
            Ok((found.is_some_and(|c| c.by_gene.is_some()), found.is_some()))
        })
    }

    /// Some of `nnz`, `total`, `sum_of_squares`, `min` and `max` of each cell or gene,
    /// if they are stored and up to date.
    fn sums(
        &self,
        py: Python<'_>,
        of_genes: bool,
        columns: Vec<String>,
    ) -> PyResult<Option<PyTable>> {
        let dataset = self.inner.clone();
        let batch = wait(py, async move {
            let Some(found) = dataset.companions().await? else {
                return Ok(None);
            };
            let table = if of_genes {
                &found.gene_sums
            } else {
                &found.cell_sums
            };
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            table.read(&columns).await.map(Some)
        })?;
        batch
            .map(|batch| {
                let schema = batch.schema();
                PyTable::try_new(vec![batch], schema)
            })
            .transpose()
    }

    /// Cells × genes.
    #[getter]
    fn shape(&self) -> (u64, u64) {
        self.inner.shape()
    }

    /// `config.json` as text.
    #[getter]
    fn config(&self) -> String {
        serde_json::Value::Object(self.inner.config.as_json().clone()).to_string()
    }

    /// `(table, rows, [(column, type)])` of every table.
    fn tables(&self) -> Vec<(String, u64, Vec<(String, String)>)> {
        let describe = |table: &slaf_core::Table| {
            let fields = table.schema.fields().iter();
            let columns = fields.map(|f| (f.name().clone(), f.data_type().to_string()));
            (table.name.clone(), table.rows, columns.collect())
        };
        self.inner.tables().map(describe).collect()
    }

    /// Bytes of a table's files, without reading any.
    fn table_bytes(&self, table: &str) -> PyResult<u64> {
        let table = self.inner.table(table).map_err(to_python)?;
        Ok(table.bytes())
    }

    /// Stored bytes of each column of a table, read from the files' ends.
    fn column_bytes(&self, py: Python<'_>, table: String) -> PyResult<Vec<(String, u64)>> {
        let dataset = self.inner.clone();
        wait(
            py,
            async move { dataset.table(&table)?.column_bytes().await },
        )
    }

    /// Columns of a table as an Arrow table: whole, or some of their rows.
    #[pyo3(signature = (table, columns, rows=None))]
    fn read(
        &self,
        py: Python<'_>,
        table: String,
        columns: Vec<String>,
        rows: Option<Axis<'_>>,
    ) -> PyResult<PyTable> {
        let rows = rows.map(|rows| rows.selection()).transpose()?;
        let dataset = self.inner.clone();
        let batch: RecordBatch = wait(py, async move {
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            let table = dataset.table(&table)?;
            match rows {
                Some(rows) => table.read_at(&columns, &rows).await,
                None => table.read(&columns).await,
            }
        })?;
        let schema = batch.schema();
        PyTable::try_new(vec![batch], schema)
    }

    /// What was wrong with the stored row offsets, if anything.
    fn defect(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let dataset = self.inner.clone();
        wait(py, async move { dataset.defect().await })
    }

    /// `(indptr, indices, data)` of X restricted to `cells` × `genes`.
    fn csr(
        &self,
        py: Python<'_>,
        cells: Axis<'_>,
        genes: Axis<'_>,
        dtype: &str,
    ) -> PyResult<Arrays> {
        let (cells, genes) = (cells.selection()?, genes.selection()?);
        let dtype = value_type(dtype)?;
        let dataset = self.inner.clone();
        let csr = wait(py, async move { dataset.csr(&cells, &genes, dtype).await })?;
        Ok(csr_to_numpy(py, csr))
    }

    /// The same for a matrix in `layers`, `obsp` or `varp`.
    fn pairs(
        &self,
        py: Python<'_>,
        kind: &str,
        key: String,
        rows: Axis<'_>,
        columns: Axis<'_>,
        dtype: &str,
    ) -> PyResult<Arrays> {
        let (rows, columns) = (rows.selection()?, columns.selection()?);
        let (kind, dtype) = (coordinate_table(kind)?, value_type(dtype)?);
        let dataset = self.inner.clone();
        let csr = wait(py, async move {
            dataset.coordinate(kind, &key, &rows, &columns, dtype).await
        })?;
        Ok(csr_to_numpy(py, csr))
    }

    /// The dtype in which stored values are read, by numpy's name.
    #[getter]
    fn value_dtype(&self) -> PyResult<&'static str> {
        let field = self.inner.expression.schema.field_with_name("value");
        let field = field.map_err(|e| PyValueError::new_err(e.to_string()))?;
        let stored = ValueType::try_from(field.data_type()).map_err(to_python)?;
        Ok(stored.numpy_name())
    }

    /// Number of stored values of X, including stored zeros.
    #[getter]
    fn nnz(&self) -> u64 {
        self.inner.expression.rows
    }
}

pub(crate) fn value_type(name: &str) -> PyResult<ValueType> {
    ValueType::from_numpy(name)
        .ok_or_else(|| PyValueError::new_err(format!("matrix values cannot be read as {name}")))
}

pub(crate) fn coordinate_table(kind: &str) -> PyResult<CoordinateTable> {
    match kind {
        "layers" => Ok(CoordinateTable::Layers),
        "obsp" => Ok(CoordinateTable::Obsp),
        "varp" => Ok(CoordinateTable::Varp),
        other => Err(PyValueError::new_err(format!(
            "`{other}` is not a kind of matrix; use `layers`, `obsp` or `varp`."
        ))),
    }
}
