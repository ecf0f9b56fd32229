"""Batch correction by ComBat (Johnson et al. 2007)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.steps import Step
from slaf.pp.handles import complete, matrix_of, require, set_matrix

#: Relative change below which the iteration ends, as in scanpy.
_CONVERGED = 1e-4


def combat(
    adata: LazyHandle,
    key: str = "batch",
    *,
    covariates: str | Collection[str] | None = None,
    inplace: bool = True,
) -> LazyExpressionMatrix | None:
    """Removes the effects of batches from X: scanpy's `pp.combat`. Reads X once, or twice
    if there are covariates, block by block, because it needs only the means and variances
    of each batch. The result is dense; as after `scale`, it is computed block by block
    when it is used.

    Parameters
    ----------
    key
        The column of obs with the batches.
    covariates
        Columns of obs, with numbers or categories, whose effects are kept.
    inplace
        Whether the handle is changed, or the corrected matrix (lazy, float64) is returned.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        A column has missing values, a batch has fewer than two cells, or the covariates
        depend linearly on each other or on the batches.
    """
    require(adata)
    names = [covariates] if isinstance(covariates, str) else list(covariates or [])
    if key in names or len(names) != len(set(names)):
        raise ValueError("`covariates` are other columns than `key`, each named once.")
    matrix = matrix_of(adata)
    batches = pd.Categorical(complete(adata, key))
    sizes = np.bincount(batches.codes, minlength=len(batches.categories))
    small = np.flatnonzero(sizes < 2)
    if len(small):
        listed = ", ".join(f"{batches.categories[at]!r}" for at in small)
        raise ValueError(f"A batch needs two cells, and {listed} of obs[{key!r}] has fewer.")
    if not len(sizes):
        raise ValueError("The handle has no cells.")
    others = _columns(adata, names)
    fit = _fit(matrix, batches.codes.astype(np.int32), len(sizes), others)
    corrected = matrix.after(*_steps(fit, batches.codes, others))
    if not inplace:
        return LazyExpressionMatrix.over(corrected)
    set_matrix(adata, None, corrected)
    return None


def _columns(adata: LazyHandle, names: list[str]) -> np.ndarray:
    """Cells × terms. Categories become indicator columns, without one for the first."""
    parts = [np.zeros((adata.n_obs, 0))]
    for name in names:
        column = complete(adata, name)
        if isinstance(column, pd.Categorical):
            parts.append(np.eye(len(column.categories))[column.codes][:, 1:])
        else:
            parts.append(column[:, None])
    return np.hstack(parts)


@dataclass
class _Fit:
    """The model of each gene, in the units of X."""

    #: The coefficients of the covariates: terms × genes.
    terms: np.ndarray
    mean: np.ndarray
    #: The standard deviation within batches.
    deviation: np.ndarray
    #: The additive and the multiplicative effect of each batch: batches × genes.
    shift: np.ndarray
    stretch: np.ndarray


def _fit(matrix: MatrixPlan, codes: np.ndarray, n: int, others: np.ndarray) -> _Fit:
    terms = np.zeros((0, matrix.shape[1]))
    if others.shape[1]:
        terms = _effects(matrix, codes, n, others)
    # Without the effects of covariates, the model has batches alone.
    rest = matrix.after(Step("less_product", (others, terms), dtype=np.dtype("float64")))
    found = reduce.grouped(rest if others.shape[1] else matrix, codes, n)
    sizes = found.count.astype(np.float64)
    means = found.mean()
    mean = (sizes / sizes.sum()).T @ means
    variance = (found.squares.sum(axis=0) / sizes.sum())[None]
    varies = variance > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        gamma = np.where(varies, (means - mean) / np.sqrt(variance), 0)
        squares = np.where(varies, found.squares / variance, 0)
    delta = squares / (sizes - 1)
    estimates = [
        _shrunken(*of_batch) for of_batch in zip(gamma, delta, squares, sizes, strict=True)
    ]
    shift, stretch = (np.array(same) for same in zip(*estimates, strict=True))
    return _Fit(terms, mean[0], np.sqrt(variance[0]), shift, np.sqrt(stretch))


def _effects(matrix: MatrixPlan, codes: np.ndarray, n: int, others: np.ndarray) -> np.ndarray:
    """The coefficients of the covariates in a model that also has the batches: a least
    squares fit on the covariates minus their means within batches."""
    sums = np.zeros((n, others.shape[1]))
    np.add.at(sums, codes, others)
    within = others - (sums / np.bincount(codes, minlength=n)[:, None])[codes]
    if np.linalg.matrix_rank(within) < within.shape[1]:
        raise ValueError(
            "Batches and covariates are linearly dependent, so their effects cannot be separated. "
            "Leave out a covariate."
        )
    moments = np.asarray(reduce.times_from_left(within.T, matrix), dtype=np.float64)
    return np.linalg.solve(within.T @ within, moments)


def _shrunken(
    gamma: np.ndarray, delta: np.ndarray, squares: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means of the shift and the variance of each gene in a batch. The priors
    are estimated over all genes. The iteration ends when scanpy's does: scanpy compares
    signed changes, and stops at a gene without variance."""
    prior_mean, prior_variance = gamma.mean(), gamma.var()
    mean, spread = delta.mean(), delta.var(ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = (2 * spread + mean**2) / spread
        b = (mean * spread + mean**3) / spread
        shift, variance, change = gamma, delta, 1.0
        while change > _CONVERGED:
            before = shift, variance
            shift = (prior_variance * n * gamma + variance * prior_mean) / (
                prior_variance * n + variance
            )
            variance = (0.5 * (squares + n * (gamma - shift) ** 2) + b) / (n / 2.0 + a - 1.0)
            change = max(
                (np.abs(shift - before[0]) / before[0]).max(),
                (np.abs(variance - before[1]) / before[1]).max(),
            )
    return shift, variance


def _steps(fit: _Fit, codes: np.ndarray, others: np.ndarray) -> list[Step]:
    """Subtracts the covariates, the mean and the shift of the batch from X, divides by the
    batch's stretch, and adds the mean and the covariates again."""
    numbers = {
        "less_product": (others, fit.terms),
        "less_group": (codes, fit.mean + fit.deviation * fit.shift),
        "per_group": (codes, fit.stretch),
        "subtract": -fit.mean,
    }
    steps = [Step(name, number, "combat", np.dtype("float64")) for name, number in numbers.items()]
    if not others.shape[1]:
        return steps[1:]
    return [*steps, Step("less_product", (others, -fit.terms), "combat", np.dtype("float64"))]
