"""Principal components of a matrix that is never completely in memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.tasks import Blocks, OfAllRows, states
from slaf.pp.handles import mask_of, matrix_of, own

#: Genes up to which the covariance matrix is made; its eigenvectors take a
#: second for 2,000 of them, and as the cube of that.
_COVARIANCE = 4000
#: Values that are not zero, as a share, from which dense products are quicker.
_DENSE = 0.25


def pca(
    adata: LazyHandle,
    n_comps: int | None = None,
    *,
    zero_center: bool = True,
    svd_solver: str = "auto",
    mask_var: Any = None,
    random_state: int = 0,
    layer: str | None = None,
    dtype: str = "float32",
    key_added: str | None = None,
    n_iter: int = 4,
    copy: bool = False,
) -> LazyHandle | None:
    """Principal components, streamed: two passes over the chosen genes.

    Sets `obsm["X_pca"]`, `varm["PCs"]` and `uns["pca"]` (or the three under
    `key_added`); signs are as scikit-learn's: the greatest loading is positive.

    Parameters
    ----------
    n_comps
        50, or one less than the smaller dimension.
    zero_center
        Whether the means are taken away first; the matrix stays sparse.
    svd_solver
        "covariance" sums XᵀX and takes its eigenvectors: exact, quick up to a
        few thousand genes. "randomized" (Halko et al. 2011) makes `n_iter` + 1
        double passes. "auto" chooses by the number of genes.
    mask_var
        Of which genes: a mask, or a column of var; by default
        `var["highly_variable"]` if there is one, and False for all.
    random_state
        Seeds "randomized".
    """
    if svd_solver not in ("auto", "covariance", "randomized"):
        raise ValueError(
            f"`svd_solver` is 'auto', 'covariance' or 'randomized', not {svd_solver!r}."
        )
    matrix = matrix_of(adata, layer)
    if copy:
        adata = adata.copy()
    told = "highly_variable" if mask_var is None and "highly_variable" in adata.var else None
    mask = told if mask_var is None else mask_var
    genes = np.arange(adata.n_vars)
    if mask is not None and mask is not False:
        genes = np.flatnonzero(mask_of(adata.var, mask, "var"))
    part = matrix[:, genes]
    width = part.shape[1]
    n_comps = _number(n_comps, part.shape, zero_center)
    if svd_solver == "auto":
        svd_solver = "covariance" if width <= _COVARIANCE else "randomized"
    found = reduce.moments(part, 0, squares=True)
    mean = found.mean() if zero_center else np.zeros(width)
    total = found.var(ddof=1).sum() if zero_center else None
    if svd_solver == "covariance":
        vectors, values = _of_covariance(part, mean, n_comps)
    else:
        vectors, values = _randomized(part, mean, n_comps, n_iter, random_state)
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(n_comps)])
    vectors *= signs
    scores = np.concatenate(list(states(part, _Scores(vectors, mean @ vectors, dtype))))
    if total is None:
        # scikit-learn's TruncatedSVD explains the variance of the scores.
        values, total = scores.var(axis=0, dtype=np.float64), found.var().sum()
    own(adata)
    loadings = np.zeros((adata.n_vars, n_comps))
    loadings[genes] = vectors
    names = ("X_pca", "PCs", "pca") if key_added is None else (key_added,) * 3
    adata.obsm[names[0]] = scores
    adata.varm[names[1]] = loadings
    params = {
        "zero_center": zero_center,
        "use_highly_variable": mask == "highly_variable" if isinstance(mask, str) else False,
        "mask_var": mask if isinstance(mask, str) else None,
    }
    if layer is not None:
        params["layer"] = layer
    adata.uns[names[2]] = {
        "params": params,
        "variance": values,
        "variance_ratio": values / total,
    }
    return adata if copy else None


def _number(asked: int | None, shape: tuple[int, int], zero_center: bool) -> int:
    """How many components there are to be."""
    most = min(shape) - (1 if zero_center else 0)
    if most < 1:
        raise SlafError(f"{shape[0]} cells × {shape[1]} genes have no principal components.")
    n_comps = min(50, min(shape) - 1) if asked is None else asked
    if not 1 <= n_comps <= most:
        raise ValueError(f"`n_comps` is between 1 and {most} here, not {n_comps}.")
    return n_comps


def _of_covariance(part: MatrixPlan, mean: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors of the covariance as columns, and eigenvalues, greatest first."""
    from scipy.linalg import eigh

    rows, width = part.shape
    gram = _gram(part)
    covariance = (gram - rows * np.outer(mean, mean)) / (rows - 1)
    values, vectors = eigh(covariance, subset_by_index=[width - n, width - 1])
    return vectors[:, ::-1].copy(), np.maximum(values[::-1], 0)


@dataclass(frozen=True)
class _Scores(OfAllRows):
    """Cells × components."""

    #: Genes × components.
    vectors: np.ndarray
    shift: np.ndarray
    dtype: str

    def __call__(self, blocks: Blocks) -> np.ndarray:
        parts = [(block @ self.vectors - self.shift).astype(self.dtype) for _, block in blocks]
        return np.concatenate(parts)


def _gram(part: MatrixPlan) -> np.ndarray:
    return functools.reduce(np.add, states(part, _Gram(part.shape[1])))


@dataclass(frozen=True)
class _Gram(OfAllRows):
    """XᵀX of some cells."""

    width: int

    def __call__(self, blocks: Blocks) -> np.ndarray:
        sparse_sums, dense_sums = _slaf.Gram(self.width), None
        for _, block in blocks:
            dense = isinstance(block, np.ndarray)
            share = 1.0 if dense else block.nnz / max(1, np.prod(block.shape))
            if share < _DENSE:
                sparse_sums.add(reduce.csr_arrays(block))
                continue
            x = (block if dense else block.toarray()).astype(np.float64, copy=False)
            product = x.T @ x
            dense_sums = product if dense_sums is None else dense_sums + product
        gram = sparse_sums.finish().reshape(self.width, self.width)
        return gram if dense_sums is None else gram + dense_sums


def _randomized(
    part: MatrixPlan, mean: np.ndarray, n: int, n_iter: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same of a random subspace that power iterations turn towards it."""
    rows, width = part.shape
    size = min(n + 10, rows, width)
    basis = np.random.default_rng(seed).normal(size=(width, size))
    for _ in range(n_iter + 1):
        basis, _ = np.linalg.qr(basis)
        basis = _both(part, mean, basis)
    basis, _ = np.linalg.qr(basis)
    small = basis.T @ _both(part, mean, basis)
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    order = values.argsort()[::-1][:n]
    return basis @ vectors[:, order], np.maximum(values[order], 0) / (rows - 1)


def _both(part: MatrixPlan, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(X - mean)ᵀ (X - mean) basis, in one pass."""
    sums = [0.0, 0.0]
    for found in states(part, _Both(basis, mean @ basis)):
        sums = [before + more for before, more in zip(sums, found, strict=True)]
    return sums[0] - np.outer(mean, sums[1])


@dataclass(frozen=True)
class _Both(OfAllRows):
    """Xᵀ (X basis - shift) of some cells, and the sums of what is in brackets."""

    basis: np.ndarray
    shift: np.ndarray

    def __call__(self, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
        out, sums = np.zeros_like(self.basis), np.zeros(self.basis.shape[1])
        for _, block in blocks:
            scores = block @ self.basis - self.shift
            out += block.T @ scores
            sums += scores.sum(axis=0)
        return out, sums
