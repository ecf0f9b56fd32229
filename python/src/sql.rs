//! SQL from Python: a catalog of handles and frames, one statement, an answer
//! that is an Arrow stream and displays itself.

use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::PyTable;
use slaf_core::query::{self as engine, Catalog, Engine, Frame, Handle, Options};
use slaf_magics::{Cell, TableView};

use crate::arrays::Axis;
use crate::dataset::Dataset;
use crate::wait::wait;

/// The answer of a statement: an Arrow stream (`polars.DataFrame(answer)`
/// copies nothing) that displays itself as HTML and text.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Answer {
    inner: engine::Answer,
    milliseconds: u128,
}

/// `(variable, dataset, cells, genes)`.
type PyHandle<'py> = (String, PyRef<'py, Dataset>, Axis<'py>, Axis<'py>);

/// Runs one statement over the handles and frames given. `default` is the place
/// of the handle whose tables need no prefix.
#[pyfunction]
#[pyo3(signature = (sql, handles, default=None, frames=vec![], engine=None))]
pub(crate) fn query(
    py: Python<'_>,
    sql: String,
    handles: Vec<PyHandle<'_>>,
    default: Option<usize>,
    frames: Vec<(String, PyTable)>,
    engine: Option<&str>,
) -> PyResult<Answer> {
    let chosen = match engine {
        None => None,
        Some("polars") => Some(Engine::Polars),
        Some("datafusion") => Some(Engine::DataFusion),
        Some(other) => {
            return Err(PyValueError::new_err(format!(
                "there is no engine `{other}`"
            )));
        }
    };
    let handles = handles
        .into_iter()
        .map(|(name, dataset, cells, genes)| {
            Ok(Handle {
                name,
                dataset: dataset.inner.clone(),
                cells: cells.selection()?,
                genes: genes.selection()?,
            })
        })
        .collect::<PyResult<_>>()?;
    let frames = frames
        .into_iter()
        .map(|(name, table)| {
            let (batches, schema) = table.into_inner();
            Frame {
                name,
                schema,
                batches,
            }
        })
        .collect();
    let catalog = Catalog {
        handles,
        default,
        frames,
    };
    let begun = Instant::now();
    let options = Options {
        engine: chosen,
        ..Options::default()
    };
    let inner = wait(
        py,
        async move { engine::run(catalog, &sql, &options).await },
    )?;
    Ok(Answer {
        inner,
        milliseconds: begun.elapsed().as_millis(),
    })
}

#[pymethods]
impl Answer {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let schema = self.inner.schema.clone();
        let table = Bound::new(py, PyTable::try_new(self.inner.batches.clone(), schema)?)?;
        table.call_method1("__arrow_c_stream__", (requested_schema,))
    }

    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.inner.rows(), self.inner.schema.fields().len())
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        self.inner
            .schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect()
    }

    /// `polars` or `datafusion`, and why.
    #[getter]
    fn engine(&self) -> (&'static str, &str) {
        (self.inner.engine.name(), &self.inner.reason)
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.inner.warnings.clone()
    }

    fn __len__(&self) -> usize {
        self.inner.rows()
    }

    fn __repr__(&self) -> String {
        self.view(|table| table.text())
    }

    fn _repr_html_(&self) -> String {
        self.view(|table| table.html())
    }
}

impl Answer {
    fn view(&self, draw: impl Fn(&TableView<'_>) -> String) -> String {
        let note = format!("{} · {} ms", self.inner.engine.name(), self.milliseconds);
        draw(&TableView {
            schema: &self.inner.schema,
            batches: &self.inner.batches,
            note: &note,
            warnings: &self.inner.warnings,
        })
    }
}

/// The tables that a statement names, without its own WITH tables.
#[pyfunction]
pub(crate) fn table_names(sql: &str) -> Vec<String> {
    engine::table_names(sql)
}

/// `(target, on, engine, sql)` of a `%%sql` cell.
#[pyfunction]
pub(crate) fn parse_cell(
    line: &str,
    body: &str,
) -> PyResult<(Option<String>, Option<String>, Option<&'static str>, String)> {
    let cell = Cell::parse(line, body).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok((
        cell.target,
        cell.on,
        cell.engine.map(Engine::name),
        cell.sql,
    ))
}
