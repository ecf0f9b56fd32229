//! SQL from Python: a catalog of handles and frames, one statement, and an answer
//! that is an Arrow stream and displays itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::RecordBatchReader;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyCapsule;
use pyo3_arrow::{PyRecordBatchReader, PySchema, PyTable};
use slaf_core::Error;
use slaf_core::query::{
    self as engine, Catalog, Comparison, Engine, Frame, FrameRows, Handle, Open, Options,
    ReadProgress, Shared, Value,
};
use slaf_magics::TableView;

use crate::arrays::Axis;
use crate::dataset::Dataset;
use crate::errors::to_python;
use crate::sql_params::{self, PyParam};
use crate::wait::{wait, wait_watching};

/// The answer to a statement: an Arrow stream (`polars.DataFrame(answer)` does
/// not copy) that displays itself as HTML and text.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Answer {
    inner: engine::Answer,
    milliseconds: f64,
    /// Rows of expression that were read, and their bytes in memory.
    read: u64,
    bytes: u64,
}

/// `(variable, dataset, cells, genes)`.
type PyHandle<'py> = (String, PyRef<'py, Dataset>, Axis<'py>, Axis<'py>);

/// The tables that a statement can name: handles, the index of the one whose
/// tables need no prefix, frames, views and Lance tables, each with its name;
/// and the names of other tables.
#[derive(FromPyObject)]
pub(crate) struct PyCatalog<'py>(
    Vec<PyHandle<'py>>,
    Option<usize>,
    Vec<(String, PyFrame)>,
    Vec<(String, String)>,
    Vec<(String, String)>,
    Vec<String>,
);

/// A frame in memory, or `(schema, a function from column names to a stream)`.
#[derive(FromPyObject)]
pub(crate) enum PyFrame {
    There(PySchema, Py<PyAny>),
    Here(PyTable),
}

impl PyCatalog<'_> {
    fn catalog(self, py: Python<'_>) -> PyResult<Catalog> {
        let Self(handles, default, frames, views, lances, others) = self;
        let mut frames: Vec<Frame> = frames.into_iter().map(frame).collect();
        for (name, uri) in lances {
            frames.push(wait(py, async move { Frame::lance(name, &uri).await })?);
        }
        let handles = handles.into_iter().map(|(name, dataset, cells, genes)| {
            Ok(Handle {
                name,
                dataset: dataset.inner.clone(),
                cells: cells.selection()?,
                genes: genes.selection()?,
            })
        });
        Ok(Catalog {
            handles: handles.collect::<PyResult<_>>()?,
            default,
            frames,
            views,
            others,
        })
    }
}

fn frame((name, frame): (String, PyFrame)) -> Frame {
    match frame {
        PyFrame::Here(table) => {
            let (batches, schema) = table.into_inner();
            Frame {
                name,
                schema,
                rows: FrameRows::InMemory(batches),
            }
        }
        PyFrame::There(schema, open) => Frame {
            name,
            schema: schema.into_inner(),
            rows: FrameRows::Elsewhere(opener(open)),
        },
    }
}

/// Opens a frame by calling Python.
fn opener(open: Py<PyAny>) -> Open {
    Arc::new(move |columns: &[String], comparisons: &[Comparison]| {
        Python::attach(|py| {
            let comparisons = comparisons.iter().map(|comparison| {
                let values = comparison.values.iter().map(|value| match value {
                    Value::Int(n) => n.into_py_any(py),
                    Value::Float(x) => x.into_py_any(py),
                    Value::Text(text) => text.into_py_any(py),
                });
                let values = values.collect::<PyResult<Vec<_>>>()?;
                Ok((&*comparison.column, comparison.sign, values))
            });
            let comparisons = comparisons.collect::<PyResult<Vec<_>>>()?;
            let stream = open.call1(py, (columns.to_vec(), comparisons))?;
            let reader: PyRecordBatchReader = stream.extract(py)?;
            Ok(reader.into_reader()? as Box<dyn RecordBatchReader + Send>)
        })
        .map_err(|error: PyErr| Error::Sql {
            message: Python::attach(|py| error.value(py).to_string()),
            hint: None,
        })
    })
}

/// How a statement is run.
fn options(engine: Option<&str>, limit: Option<usize>, memory: Option<usize>) -> PyResult<Options> {
    let engine = match engine {
        None | Some("auto") => None,
        Some("polars") => Some(Engine::Polars),
        Some("datafusion") => Some(Engine::DataFusion),
        Some(other) => {
            return Err(PyValueError::new_err(format!(
                "There is no engine `{other}`. Use `auto`, `datafusion` or `polars`."
            )));
        }
    };
    let defaults = Options::default();
    Ok(Options {
        engine,
        limit,
        memory: memory.unwrap_or(defaults.memory),
        reading: defaults.reading,
    })
}

/// Runs one statement over the catalog. `watch(rows read, rows to read, bytes read)`
/// is called regularly.
#[pyfunction]
#[pyo3(signature = (sql, catalog, params, *, engine=None, limit=None, memory=None, watch=None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
pub(crate) fn query(
    py: Python<'_>,
    sql: String,
    catalog: PyCatalog<'_>,
    params: HashMap<String, Option<PyParam>>,
    engine: Option<&str>,
    limit: Option<usize>,
    memory: Option<usize>,
    watch: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    let options = options(engine, limit, memory)?;
    let (catalog, params) = (catalog.catalog(py)?, sql_params::params(py, params)?);
    let (reading, begun) = (Arc::clone(&options.reading), Instant::now());
    let work = async move { engine::run(&catalog, &sql, &params, &options).await };
    answered(py, work, &reading, begun, watch)
}

fn answered(
    py: Python<'_>,
    work: impl Future<Output = slaf_core::Result<engine::Answer>> + Send + 'static,
    reading: &ReadProgress,
    begun: Instant,
    watch: Option<Py<PyAny>>,
) -> PyResult<Answer> {
    let inner = wait_watching(py, work, |py| match &watch {
        Some(watch) => {
            let (done, total) = reading.rows();
            watch.call1(py, (done, total, reading.bytes())).map(drop)
        }
        None => Ok(()),
    })?;
    Ok(Answer {
        inner,
        milliseconds: begun.elapsed().as_secs_f64() * 1e3,
        read: reading.rows().0,
        bytes: reading.bytes(),
    })
}

/// A planned statement whose aggregates over `expression` other processes compute.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct SharedQuery {
    inner: Mutex<Option<Shared>>,
    /// The number of parts to be taken before it runs.
    #[pyo3(get)]
    parts: usize,
    reading: Arc<ReadProgress>,
    begun: Instant,
}

/// Plans a statement; `None` if it is no query.
#[pyfunction]
#[pyo3(signature = (sql, catalog, params, *, engine=None, limit=None, memory=None))]
pub(crate) fn share_query(
    py: Python<'_>,
    sql: String,
    catalog: PyCatalog<'_>,
    params: HashMap<String, Option<PyParam>>,
    engine: Option<&str>,
    limit: Option<usize>,
    memory: Option<usize>,
) -> PyResult<Option<SharedQuery>> {
    let options = options(engine, limit, memory)?;
    let (catalog, params) = (catalog.catalog(py)?, sql_params::params(py, params)?);
    let (reading, begun) = (Arc::clone(&options.reading), Instant::now());
    let shared = wait(py, async move {
        Shared::of(catalog, &sql, &params, options).await
    })?;
    Ok(shared.map(|shared| SharedQuery {
        parts: shared.parts(),
        inner: Mutex::new(Some(shared)),
        reading,
        begun,
    }))
}

/// A part of a statement, for [`SharedQuery::take`] in another process.
#[pyfunction]
#[pyo3(signature = (sql, catalog, params, number, *, engine=None, limit=None, memory=None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
pub(crate) fn query_part(
    py: Python<'_>,
    sql: String,
    catalog: PyCatalog<'_>,
    params: HashMap<String, Option<PyParam>>,
    number: usize,
    engine: Option<&str>,
    limit: Option<usize>,
    memory: Option<usize>,
) -> PyResult<Cow<'static, [u8]>> {
    let options = options(engine, limit, memory)?;
    let (catalog, params) = (catalog.catalog(py)?, sql_params::params(py, params)?);
    let part = async move { engine::part(&catalog, &sql, &params, &options, number).await };
    Ok(wait(py, part)?.into())
}

#[pymethods]
impl SharedQuery {
    /// Takes the next part. Parts come in order.
    fn take(&self, py: Python<'_>, part: PyBackedBytes) -> PyResult<()> {
        py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.as_mut().map_or(Ok(()), |shared| shared.take(&part))
        })
        .map_err(to_python)
    }

    /// The answer, when all parts are taken. It can be asked for once.
    #[pyo3(signature = (watch=None))]
    fn run(&self, py: Python<'_>, watch: Option<Py<PyAny>>) -> PyResult<Answer> {
        let shared = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let shared = shared.ok_or_else(|| PyValueError::new_err("It has been answered."))?;
        answered(py, shared.run(), &self.reading, self.begun, watch)
    }
}

/// The byte at which the candidates begin, and each with its kind.
type Completion = (usize, Vec<(String, &'static str)>);

/// The completions at byte `cursor` of `sql`.
#[pyfunction]
pub(crate) fn complete_sql(
    py: Python<'_>,
    sql: String,
    cursor: usize,
    catalog: PyCatalog<'_>,
) -> PyResult<Completion> {
    let catalog = catalog.catalog(py)?;
    let found = wait(
        py,
        async move { engine::complete(&catalog, &sql, cursor).await },
    )?;
    Ok((found.start, found.matches))
}

/// The meaning of the name at byte `cursor` of `sql`.
#[pyfunction]
pub(crate) fn inspect_sql(
    py: Python<'_>,
    sql: String,
    cursor: usize,
    catalog: PyCatalog<'_>,
) -> PyResult<Option<String>> {
    let catalog = catalog.catalog(py)?;
    wait(
        py,
        async move { engine::inspect(&catalog, &sql, cursor).await },
    )
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

    /// `polars` or `datafusion`, and the reason.
    #[getter]
    fn engine(&self) -> (&'static str, &str) {
        (self.inner.engine.name(), &self.inner.reason)
    }

    /// Number of rows of expression that were read, and the total time in
    /// milliseconds.
    #[getter]
    fn profile(&self) -> (u64, f64) {
        (self.read, self.milliseconds)
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
        let (engine, milliseconds) = (self.inner.engine.name(), self.milliseconds);
        let mut note = format!("{engine} · {milliseconds:.0} ms");
        if self.read > 0 {
            let (rows, megabytes) = (self.read, self.bytes as f64 / 1e6);
            note += &format!(" · {rows} rows of expression read ({megabytes:.1} MB)");
        }
        draw(&TableView {
            schema: &self.inner.schema,
            batches: &self.inner.batches,
            note: &note,
            warnings: &self.inner.warnings,
            whole: None,
        })
    }
}
