//! Random batches, for Python: made on other threads, awaited without the GIL, and
//! passed without a copy.

use std::sync::{Arc, Mutex, PoisonError};

use numpy::{IntoPyArray, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use slaf_core::Error;
use slaf_core::loader::{self, Batch, BatchContent, BatchPlan, Content, Source};

use crate::arrays::csr_to_numpy;
use crate::dataset::{Dataset, value_type};
use crate::errors::to_python;
use crate::tokens::{Tokenizer, arrays_of};

/// A tokenizer, or the column of each gene (-1: none), the number of columns
/// and the dtype.
#[derive(FromPyObject)]
enum What<'py> {
    Tokens(PyRef<'py, Tokenizer>),
    Rows(Option<PyReadonlyArray1<'py, i32>>, usize, String),
}

impl What<'_> {
    fn content(&self, genes: u64) -> PyResult<Content> {
        Ok(match self {
            Self::Tokens(tokenizer) => Content::Tokens(Arc::clone(&tokenizer.inner)),
            Self::Rows(columns, width, dtype) => {
                let columns = columns
                    .as_ref()
                    .map(|columns| columns.as_slice())
                    .transpose()?;
                if columns.is_some_and(|columns| columns.len() as u64 != genes) {
                    return Err(PyValueError::new_err("a column is needed for each gene"));
                }
                Content::Rows {
                    columns: columns.map(Arc::from),
                    width: *width,
                    dtype: value_type(dtype)?,
                }
            }
        })
    }
}

type From<'py> = (
    PyRef<'py, Dataset>,
    Option<PyReadonlyArray1<'py, i64>>,
    What<'py>,
);

/// See [`slaf_core::loader::Loader`].
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Loader {
    inner: loader::Loader,
    process: u32,
}

#[pymethods]
impl Loader {
    #[new]
    #[pyo3(signature = (
        sources, *, batch, drop_last, seed, shuffle, block, buffer, weights, draws, strata, rank,
        world, ahead
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        sources: Vec<From<'_>>,
        batch: usize,
        drop_last: bool,
        seed: u64,
        shuffle: bool,
        block: usize,
        buffer: usize,
        weights: Option<PyReadonlyArray1<'_, f64>>,
        draws: Option<u64>,
        strata: Option<PyReadonlyArray1<'_, u32>>,
        rank: u64,
        world: u64,
        ahead: usize,
    ) -> PyResult<Self> {
        let source = |(dataset, cells, what): &From<'_>| {
            let cells = cells.as_ref().map(|cells| cells.as_slice()).transpose()?;
            Ok(Source {
                dataset: dataset.inner.clone(),
                cells: cells.map(|cells| cells.iter().map(|cell| *cell as u64).collect()),
                content: what.content(dataset.inner.shape().1)?,
            })
        };
        let sources = sources.iter().map(source).collect::<PyResult<Vec<_>>>()?;
        let plan = BatchPlan {
            batch,
            drop_last,
            seed,
            shuffle,
            block,
            buffer,
            weights: weights.map(|weights| weights.to_vec()).transpose()?,
            draws,
            strata: strata.map(|strata| strata.to_vec()).transpose()?,
            rank,
            world,
            ahead,
        };
        let inner = loader::Loader::new(sources, plan).map_err(to_python)?;
        Ok(Self {
            inner,
            process: std::process::id(),
        })
    }

    /// The dtypes of values.
    #[classattr]
    fn dtypes() -> [&'static str; 5] {
        ["uint16", "int32", "int64", "float32", "float64"]
    }

    /// Number of batches in an epoch.
    #[getter]
    fn batches(&self) -> u64 {
        self.inner.batches()
    }

    /// Number of cells in an epoch.
    #[getter]
    fn cells(&self) -> u64 {
        self.inner.cells()
    }

    /// The batches of `epochs` epochs, beginning with `epoch`, without the
    /// first `skipped` batches.
    fn start(&self, epoch: u64, skipped: u64, epochs: u64) -> PyResult<Batches> {
        at_home(self.process)?;
        let batches = self.inner.start(epoch, skipped, epochs);
        Ok(Batches {
            inner: Mutex::new(Some(batches)),
            process: self.process,
        })
    }
}

/// An iterator over batches.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Batches {
    inner: Mutex<Option<loader::Batches>>,
    process: u32,
}

#[pymethods]
impl Batches {
    /// `(epoch, index, positions, cells, tokens, rows)`, or `None` after the
    /// last batch. Either `tokens` (ids, mask, values, masked) or `rows`
    /// (indptr, indices, data) is `None`.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Parts>> {
        at_home(self.process)?;
        let mut raised = None;
        let outcome = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.as_mut()?.next(|| {
                raised = Python::attach(|py| py.check_signals().err());
                raised.is_some()
            })
        });
        match (outcome, raised) {
            (None, _) => Ok(None),
            (Some(Ok(batch)), _) => parts(py, batch).map(Some),
            (Some(Err(Error::Interrupted)), Some(error)) => Err(error),
            (Some(Err(error)), _) => Err(to_python(error)),
        }
    }

    /// Stops all work.
    fn stop(&self) {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

/// Fails in a forked child: threads do not survive a fork, and the child would
/// wait forever.
fn at_home(process: u32) -> PyResult<()> {
    if process == std::process::id() {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(
        "A loader cannot be used in a forked process. It reads on threads of its own: use \
         num_workers=0, or make the loader in the process that uses it.",
    ))
}

type Parts = (
    u64,
    u64,
    Py<PyAny>,
    Py<PyAny>,
    Option<crate::tokens::Arrays>,
    Option<(Py<PyAny>, Py<PyAny>, Py<PyAny>)>,
);

fn parts(py: Python<'_>, batch: Batch) -> PyResult<Parts> {
    let numbers = |numbers: Vec<i64>| numbers.into_pyarray(py).into_any().unbind();
    let (tokens, rows) = match batch.content {
        BatchContent::Tokens(tokens) => (Some(arrays_of(py, tokens)?), None),
        BatchContent::Rows(csr) => (None, Some(csr_to_numpy(py, csr))),
    };
    let (positions, cells) = (numbers(batch.positions), numbers(batch.cells));
    Ok((batch.epoch, batch.index, positions, cells, tokens, rows))
}
