"""Regresses out columns of obs with a linear model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.steps import Step
from slaf.pp.handles import complete, matrix_of, require, set_matrix


def regress_out(
    adata: LazyHandle,
    keys: str | Sequence[str],
    *,
    layer: str | None = None,
    n_jobs: int | None = None,
    copy: bool = False,
) -> LazyHandle | None:
    """Subtracts the part of each gene that a least squares fit on columns of obs explains:
    scanpy's `pp.regress_out`. Reads the matrix once, block by block. The result is dense;
    as after `scale`, it is computed block by block when it is used, and is never in memory
    as a whole unless you ask for it.

    Parameters
    ----------
    keys
        Columns of obs with numbers, or one column with categories. With categories, the
        mean of each category is subtracted, except from genes with a single value.
    n_jobs
        Accepted for compatibility with scanpy; not used.
    copy
        Whether a copy is returned, or the handle is changed.

    Raises
    ------
    KeyError
        There is no such column or layer.
    ValueError
        `keys` is empty, a column has missing values, or a column with categories is not
        the only one.
    """
    require(adata)
    names = [keys] if isinstance(keys, str) else list(keys)
    if copy:
        adata = adata.copy()
    matrix = matrix_of(adata, layer)
    columns = {name: complete(adata, name) for name in names}
    if not columns:
        raise ValueError("`keys` names no column of obs to regress out.")
    categorical = [n for n, column in columns.items() if isinstance(column, pd.Categorical)]
    if categorical and len(names) > 1:
        raise ValueError(
            f"A column of categories must be the only key, and {categorical[0]!r} is one."
        )
    wide = matrix.dtype.kind != "f" and matrix.dtype.itemsize > 4
    dtype = np.dtype("float64" if wide or matrix.dtype == np.float64 else "float32")
    if categorical:
        fit = _category_means(matrix, columns[names[0]])
        step = Step("less_group", fit, "regress_out", np.dtype("float64"))
    else:
        fit = _least_squares(matrix, np.column_stack(list(columns.values())))
        step = Step("less_product", fit, "regress_out", dtype)
    set_matrix(adata, layer, matrix.after(step))
    return adata if copy else None


def _least_squares(matrix: MatrixPlan, regressors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns that span the regressors and 1, and the coefficients of each
    gene for these columns. Regressors that depend linearly on others add no column."""
    model = np.column_stack([np.ones(len(regressors)), regressors])
    lengths = np.linalg.norm(model, axis=0)
    model = model / np.where(lengths == 0, 1, lengths)
    vectors, sizes, _ = np.linalg.svd(model, full_matrices=False)
    basis = vectors[:, sizes > sizes.max(initial=0) * len(model) * np.finfo(float).eps]
    return basis, np.asarray(reduce.times_from_left(basis.T, matrix))


def _category_means(
    matrix: MatrixPlan, categories: pd.Categorical
) -> tuple[np.ndarray, np.ndarray]:
    found = reduce.grouped(matrix, categories.codes.astype(np.int32), len(categories.categories))
    constant = found.least.min(axis=0) == found.greatest.max(axis=0)
    means = np.where(constant, 0.0, found.mean())
    return categories.codes, means
