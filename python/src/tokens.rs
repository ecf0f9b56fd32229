//! The tokenizers, for Python.

use std::sync::Arc;

use numpy::{IntoPyArray, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use slaf_core::stats::Block;
use slaf_core::tokens::{self, Cell, Geneformer, Mask, Scgpt, Slafdb, Specials, Tokens};
use slaf_core::{Random, Values};

use crate::arrays::{Data, Index};
use crate::dataset::Dataset;
use crate::errors::to_python;
use crate::wait::wait;

/// A tokenizer of one dataset's genes.
#[pyclass(frozen, module = "slaf._slaf")]
pub(crate) struct Tokenizer {
    pub(crate) inner: Arc<dyn tokens::Tokenizer>,
}

/// Token ids, or -1 for none.
fn optional(tokens: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<Option<i64>>> {
    let tokens = tokens.as_slice()?.iter();
    Ok(tokens
        .map(|token| (*token >= 0).then_some(*token))
        .collect())
}

#[pymethods]
impl Tokenizer {
    /// `tokens` and `medians` have one entry per gene; the token is -1 for
    /// genes that the vocabulary does not have.
    #[staticmethod]
    #[pyo3(signature = (tokens, medians, specials, pad, width, totals=None))]
    fn geneformer(
        tokens: PyReadonlyArray1<'_, i64>,
        medians: PyReadonlyArray1<'_, f64>,
        specials: Option<(i64, i64)>,
        pad: i64,
        width: usize,
        totals: Option<PyReadonlyArray1<'_, f64>>,
    ) -> PyResult<Self> {
        let genes: Vec<_> = optional(&tokens)?
            .into_iter()
            .zip(medians.as_slice()?)
            .map(|(token, median)| Some((token?, *median)))
            .collect();
        let specials = specials.map(|(cls, eos)| Specials { cls, eos });
        let totals = totals
            .map(|totals| totals.as_slice().map(Arc::from))
            .transpose()?;
        let made = Geneformer::new(&genes, specials, pad, width, totals).map_err(to_python)?;
        Ok(Self {
            inner: Arc::new(made),
        })
    }

    /// The same; `mask` is the fraction of values to mask, and the value that
    /// replaces them.
    #[staticmethod]
    #[pyo3(signature = (tokens, cls, pad, pad_value, bins, spread, width, sample, mask=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn scgpt(
        tokens: PyReadonlyArray1<'_, i64>,
        cls: i64,
        pad: i64,
        pad_value: f32,
        bins: usize,
        spread: bool,
        width: usize,
        sample: bool,
        mask: Option<(f64, f32)>,
    ) -> PyResult<Self> {
        let made = Scgpt {
            tokens: optional(&tokens)?,
            cls,
            pad,
            pad_value,
            bins,
            spread,
            width,
            sample,
            mask: mask.map(|(ratio, value)| Mask { ratio, value }),
        };
        let made = made.check().map_err(to_python)?;
        Ok(Self {
            inner: Arc::new(made),
        })
    }

    /// slafdb's tokenizers: scGPT's if `values_from` is given, otherwise
    /// Geneformer's.
    #[staticmethod]
    #[pyo3(signature = (max_genes, values_from=None))]
    fn slafdb(max_genes: usize, values_from: Option<i64>) -> Self {
        let inner = Arc::new(Slafdb {
            max_genes,
            values_from,
        });
        Self { inner }
    }

    /// Tokenizes CSR rows over `width` genes; `cells` are the ids of the cells.
    fn encode(
        &self,
        py: Python<'_>,
        arrays: (Index<'_>, PyReadonlyArray1<'_, i32>, Data<'_>),
        width: usize,
        cells: PyReadonlyArray1<'_, i64>,
        seed: u64,
    ) -> PyResult<Arrays> {
        let (indptr, indices, data) = &arrays;
        let (indices, cells) = (indices.as_slice()?, cells.as_slice()?);
        let (indptr, data) = (indptr.as_ref()?, data.as_ref()?);
        let block = Block::new(indptr, indices, data, width).map_err(to_python)?;
        let rows = (0..block.rows().min(cells.len())).map(|row| {
            let (genes, values) = block.row(row);
            let id = cells[row] as u64;
            (Cell { id, genes, values }, Random::of(&[seed, id]))
        });
        let made = py.detach(|| tokens::encode(self.inner.as_ref(), rows));
        arrays_of(py, made.map_err(to_python)?)
    }
}

/// ids, attention mask, values and masked values: rows × width.
pub(crate) type Arrays = (Py<PyAny>, Py<PyAny>, Option<Py<PyAny>>, Option<Py<PyAny>>);

pub(crate) fn arrays_of(py: Python<'_>, tokens: Tokens) -> PyResult<Arrays> {
    let shape = [tokens.ids.len() / tokens.width.max(1), tokens.width];
    let numbers = |values: Option<Vec<f32>>| {
        let array = values.map(|values| values.into_pyarray(py).reshape(shape));
        Ok::<_, PyErr>(array.transpose()?.map(|array| array.into_any().unbind()))
    };
    Ok((
        tokens
            .ids
            .into_pyarray(py)
            .reshape(shape)?
            .into_any()
            .unbind(),
        tokens
            .mask
            .into_pyarray(py)
            .reshape(shape)?
            .into_any()
            .unbind(),
        numbers(tokens.values)?,
        numbers(tokens.masked)?,
    ))
}

/// For each gene, the median of its nonzero counts per 10,000 counts of the
/// cell (NaN if there are none), and the number of cells used.
#[pyfunction]
pub(crate) fn gene_medians(py: Python<'_>, dataset: &Dataset) -> PyResult<(Py<PyAny>, u64)> {
    let dataset = dataset.inner.clone();
    let found = wait(py, async move { tokens::medians(&dataset).await })?;
    let medians = crate::arrays::values_to_numpy(py, Values::F64(found.of_genes));
    Ok((medians, found.cells))
}
