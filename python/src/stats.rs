//! Statistics and arithmetic on blocks of a matrix in numpy arrays.

use std::sync::{Mutex, PoisonError};

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use slaf_core::stats::{self, Block, GroupSums, Groups, Ranking, Step, Summary, Wanted};

use crate::arrays::{Axis, Data, Index, csr_to_numpy, values_to_numpy};
use crate::dataset::{Dataset, value_type};
use crate::errors::to_python;
use crate::wait::wait;

/// `(indptr, indices, data)` of CSR rows.
type Arrays<'py> = (Index<'py>, PyReadonlyArray1<'py, i32>, Data<'py>);

fn block<'a>(arrays: &'a Arrays<'_>, width: usize) -> PyResult<Block<'a>> {
    let (indptr, indices, data) = arrays;
    Block::new(indptr.as_ref()?, indices.as_slice()?, data.as_ref()?, width).map_err(to_python)
}

/// The name of a step, and its numbers.
#[derive(FromPyObject)]
pub(crate) enum Number<'py> {
    One(f64),
    Many(PyReadonlyArray1<'py, f64>),
}

fn step(name: &str, number: Option<&Number<'_>>) -> PyResult<Step> {
    let many = |made: fn(Vec<f64>) -> Step| match number {
        Some(Number::Many(numbers)) => Ok(made(numbers.as_slice()?.to_vec())),
        _ => Err(PyValueError::new_err(format!("`{name}` takes an array"))),
    };
    let one = |made: fn(f64) -> Step| match number {
        Some(Number::One(number)) => Ok(made(*number)),
        _ => Err(PyValueError::new_err(format!("`{name}` takes a number"))),
    };
    match name {
        "rows" => many(Step::Rows),
        "columns" => many(Step::Columns),
        "per_row" => many(Step::PerRow),
        "per_column" => many(Step::PerColumn),
        "clip_columns" => many(Step::ClipColumns),
        "times" => one(Step::Times),
        "power" => one(Step::Power),
        "clip" => one(Step::Clip),
        "log1p" => Ok(Step::Log1p),
        "expm1" => Ok(Step::Expm1),
        "abs" => Ok(Step::Abs),
        "sign" => Ok(Step::Sign),
        other => Err(PyValueError::new_err(format!("`{other}` is no step"))),
    }
}

fn many_steps(steps: &[(String, Option<Number<'_>>)]) -> PyResult<Vec<Step>> {
    let steps = steps.iter();
    steps
        .map(|(name, number)| step(name, number.as_ref()))
        .collect()
}

/// The values of a block after `steps`, as float32 or float64.
#[pyfunction]
pub(crate) fn apply_steps(
    py: Python<'_>,
    arrays: Arrays<'_>,
    width: usize,
    steps: Vec<(String, Option<Number<'_>>)>,
    dtype: &str,
) -> PyResult<Py<PyAny>> {
    let block = block(&arrays, width)?;
    let dtype = value_type(dtype)?;
    let steps = many_steps(&steps)?;
    let values = py.detach(|| stats::apply(&block, &steps, dtype));
    Ok(values_to_numpy(py, values.map_err(to_python)?))
}

/// Converts a block to CSC: `(indptr, indices, data)`.
#[pyfunction]
pub(crate) fn to_csc(
    py: Python<'_>,
    arrays: Arrays<'_>,
    width: usize,
) -> PyResult<(Py<PyAny>, Py<PyAny>, Py<PyAny>)> {
    let block = block(&arrays, width)?;
    let csc = py.detach(|| stats::to_csc(&block));
    Ok(csr_to_numpy(py, csc))
}

/// `(nonzero, total, squares, min, max)`.
type Summaries<'py> = (
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
);

fn summaries(py: Python<'_>, found: Summary) -> Summaries<'_> {
    (
        found.nonzero.into_pyarray(py),
        found.total.into_pyarray(py),
        found.squares.into_pyarray(py),
        found.min.into_pyarray(py),
        found.max.into_pyarray(py),
    )
}

/// For each row of a block: the number of nonzero values, their sum, the
/// squared deviations from the row's mean, minimum and maximum, including
/// zeros.
#[pyfunction]
pub(crate) fn row_moments<'py>(
    py: Python<'py>,
    arrays: Arrays<'py>,
    width: usize,
) -> PyResult<Summaries<'py>> {
    let block = block(&arrays, width)?;
    let found = py.detach(|| stats::of_rows(&block));
    Ok(summaries(py, found))
}

/// The sums of the `ns[i]` greatest values of each row, row-major.
#[pyfunction]
pub(crate) fn top_sums<'py>(
    py: Python<'py>,
    arrays: Arrays<'py>,
    width: usize,
    ns: Vec<usize>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let block = block(&arrays, width)?;
    let found = py.detach(|| stats::top_sums(&block, &ns));
    Ok(found.into_pyarray(py))
}

/// Sums of groups of cells, groups × genes: totals, numbers of nonzero values, squared
/// deviations, sums of ranks, and ties; empty if they are not wanted.
type OfGroups<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<u32>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
);

fn of_groups(py: Python<'_>, found: GroupSums) -> OfGroups<'_> {
    (
        found.totals.into_pyarray(py),
        found.nonzero.into_pyarray(py),
        found.squares.into_pyarray(py),
        found.ranks.into_pyarray(py),
        found.ties.into_pyarray(py),
    )
}

/// `(nonzero, squares, ranks, reference)`: what is wanted besides totals, and the group
/// with which each group is ranked, or -1 if all groups are ranked together.
type Asked = (bool, bool, bool, i32);

fn wanted((nonzero, squares, ranks, reference): Asked) -> Wanted {
    let ranking = usize::try_from(reference).map_or(Ranking::All, Ranking::With);
    Wanted {
        nonzero,
        squares,
        ranks: ranks.then_some(ranking),
    }
}

/// Sums of groups of rows for each column of a CSC block.
#[pyfunction]
pub(crate) fn group_sums<'py>(
    py: Python<'py>,
    arrays: Arrays<'py>,
    groups: PyReadonlyArray1<'py, i32>,
    n_groups: usize,
    asked: Asked,
) -> PyResult<OfGroups<'py>> {
    let groups = Groups::new(groups.as_slice()?.to_vec(), n_groups).map_err(to_python)?;
    let block = block(&arrays, groups.cells())?;
    let found = py.detach(|| GroupSums::of_columns(&block, &groups, wanted(asked)));
    Ok(of_groups(py, found.map_err(to_python)?))
}

/// The same from the gene-major copy of `dataset`, after `steps`, for cells and genes
/// that do not repeat; genes ascend.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "they are named in Python")]
pub(crate) fn group_sums_by_gene<'py>(
    py: Python<'py>,
    dataset: &Dataset,
    cells: Axis<'py>,
    genes: Axis<'py>,
    steps: Vec<(String, Option<Number<'py>>)>,
    dtype: &str,
    groups: PyReadonlyArray1<'py, i32>,
    n_groups: usize,
    asked: Asked,
) -> PyResult<Option<OfGroups<'py>>> {
    let (cells, genes) = (cells.selection()?, genes.selection()?);
    let steps = many_steps(&steps)?;
    let dtype = value_type(dtype)?;
    let groups = Groups::new(groups.as_slice()?.to_vec(), n_groups).map_err(to_python)?;
    let dataset = dataset.inner.clone();
    let wanted = wanted(asked);
    let found = wait(py, async move {
        stats::sums_by_gene(dataset, cells, genes, groups, steps, dtype, wanted).await
    })?;
    Ok(found.map(|found| of_groups(py, found)))
}

/// The statistics of [`row_moments`] for columns, and for each group of rows.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Moments {
    width: usize,
    inner: Mutex<stats::Moments>,
}

#[pymethods]
impl Moments {
    #[new]
    #[pyo3(signature = (width, groups=1))]
    fn new(width: usize, groups: usize) -> Self {
        Self {
            width,
            inner: Mutex::new(stats::Moments::new(groups, width)),
        }
    }

    /// Adds rows; `groups` gives the group of each row, -1 for none.
    #[pyo3(signature = (arrays, groups=None))]
    fn add(
        &self,
        py: Python<'_>,
        arrays: Arrays<'_>,
        groups: Option<PyReadonlyArray1<'_, i32>>,
    ) -> PyResult<()> {
        let block = block(&arrays, self.width)?;
        let groups = groups.as_ref().map(|g| g.as_slice()).transpose()?;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        py.detach(|| inner.add(&block, groups)).map_err(to_python)
    }

    /// Number of rows in each group.
    fn rows(&self) -> Vec<u64> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.rows().to_vec()
    }

    /// The results, group-major.
    fn finish<'py>(&self, py: Python<'py>) -> Summaries<'py> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        summaries(py, inner.finish())
    }
}

/// XᵀX of rows that arrive block by block.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Gram {
    width: usize,
    inner: Mutex<stats::Gram>,
}

#[pymethods]
impl Gram {
    #[new]
    fn new(width: usize) -> Self {
        Self {
            width,
            inner: Mutex::new(stats::Gram::new(width)),
        }
    }

    /// Adds rows in which columns ascend.
    fn add(&self, py: Python<'_>, arrays: Arrays<'_>) -> PyResult<()> {
        let block = block(&arrays, self.width)?;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        py.detach(|| inner.add(&block)).map_err(to_python)
    }

    /// `width` × `width`, row-major, float64.
    fn finish<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.finish().into_pyarray(py)
    }
}
