//! Checks and indices of datasets, for Python. Other processes can read parts.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyIterator;
use slaf_core::Result;
use slaf_core::upkeep::{self, Indexing, Validation};

use crate::dataset::Dataset;
use crate::errors::to_python;
use crate::storage::{Version, version};
use crate::wait::{wait, wait_counting};

/// Validates a dataset: `(what, problem)` for every check. `parts` are all parts in
/// order, if they were read elsewhere.
#[pyfunction]
#[pyo3(signature = (dataset, parts=None))]
pub(crate) fn validate(
    py: Python<'_>,
    dataset: &Dataset,
    parts: Option<Bound<'_, PyIterator>>,
) -> PyResult<Vec<(&'static str, Option<String>)>> {
    let dataset = dataset.inner.clone();
    let checks = match parts {
        None => wait(py, async move { upkeep::validate(&dataset).await })?,
        Some(parts) => {
            let mut validation = wait(py, async move { Validation::of(&dataset).await })?;
            each(py, parts, |part| validation.take(part))?;
            wait(py, validation.checks())?
        }
    };
    Ok(checks.into_iter().map(|c| (c.what, c.problem)).collect())
}

/// The number of parts of a validation.
#[pyfunction]
pub(crate) fn validation_parts(py: Python<'_>, dataset: &Dataset) -> PyResult<u64> {
    let dataset = dataset.inner.clone();
    wait(
        py,
        async move { Ok(Validation::of(&dataset).await?.parts()) },
    )
}

/// A part of a validation, for [`validate`].
#[pyfunction]
pub(crate) fn validation_part(
    py: Python<'_>,
    dataset: &Dataset,
    number: u64,
) -> PyResult<Cow<'static, [u8]>> {
    let dataset = dataset.inner.clone();
    let part = async move { upkeep::validation_part(&dataset, number).await };
    Ok(wait(py, part)?.into())
}

/// Makes the companion tables of a dataset again. `parts` are all parts of X in
/// order, if they were read elsewhere. `watch(done, total)` is called regularly with the
/// values that are read, and then with those of the copy by gene that are written.
#[pyfunction]
#[pyo3(signature = (dataset, by_gene, parts=None, watch=None))]
pub(crate) fn index(
    py: Python<'_>,
    dataset: &Dataset,
    by_gene: bool,
    parts: Option<Bound<'_, PyIterator>>,
    watch: Option<Py<PyAny>>,
) -> PyResult<Version> {
    let mut indexing = Indexing::of(&dataset.inner, by_gene).map_err(to_python)?;
    let here = parts.is_none();
    if let Some(parts) = parts {
        each(py, parts, |part| indexing.take(part))?;
    }
    let done = wait_counting(py, watch, |progress| async move {
        if here {
            indexing.replay(&progress).await?;
        }
        indexing.publish(&progress).await
    })?;
    Ok(version(done))
}

/// The number of parts of X.
#[pyfunction]
pub(crate) fn index_parts(dataset: &Dataset) -> PyResult<u64> {
    let indexing = Indexing::of(&dataset.inner, false).map_err(to_python)?;
    Ok(indexing.parts())
}

/// A part of X, for [`index`].
#[pyfunction]
pub(crate) fn index_part(
    py: Python<'_>,
    dataset: &Dataset,
    by_gene: bool,
    number: u64,
) -> PyResult<Cow<'static, [u8]>> {
    let dataset = dataset.inner.clone();
    let part = async move { Indexing::part(&dataset, by_gene, number).await };
    Ok(wait(py, part)?.into())
}

/// Calls `take` with each of the parts, without the GIL.
fn each(
    py: Python<'_>,
    parts: Bound<'_, PyIterator>,
    mut take: impl FnMut(&[u8]) -> Result<()> + Send,
) -> PyResult<()> {
    for part in parts {
        let part: PyBackedBytes = part?.extract()?;
        py.detach(|| take(&part)).map_err(to_python)?;
    }
    Ok(())
}
