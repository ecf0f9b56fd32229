"""Principal components of a matrix that is never completely in memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.tasks import Blocks, OfAllRows, states
from slaf.pp.handles import mask_of, matrix_of, own

#: Maximum number of genes for which the covariance matrix is computed. Its eigenvectors
#: take a second for 2,000 genes, and the time grows with the cube of their number.
_COVARIANCE = 4000
#: The share of nonzero values from which on dense products are faster.
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
    """Principal components, computed in passes over the selected genes.

    Sets `obsm["X_pca"]` (cells × components), `varm["PCs"]` (genes × components,
    float64) and `uns["pca"]`, or all three under `key_added`. The signs are those of
    scikit-learn: the greatest loading of each component is positive.

    Parameters
    ----------
    n_comps
        The number of components; by default 50, or one less than the smaller dimension.
    zero_center
        Subtract the mean of each gene. The matrix stays sparse.
    svd_solver
        "covariance" sums XᵀX in one pass and takes its eigenvectors: exact, and fast for
        up to a few thousand genes. "randomized" (Halko et al. 2011) makes `n_iter` + 3
        passes. "auto" chooses by the number of genes.
    mask_var
        The genes to use: a mask, or the name of a column of var. By default
        `var["highly_variable"]`, if it exists; False uses all genes.
    random_state
        The seed of "randomized".
    dtype
        The dtype of `obsm["X_pca"]`.

    Raises
    ------
    ValueError
        `n_comps` or `svd_solver` is not valid.
    SlafError
        The matrix has fewer than two cells or genes.
    """
    if svd_solver not in ("auto", "covariance", "randomized"):
        raise ValueError(
            f"`svd_solver` is 'auto', 'covariance' or 'randomized', not {svd_solver!r}."
        )
    matrix = matrix_of(adata, layer)
    if copy:
        adata = adata.copy()
    by_default = "highly_variable" if mask_var is None and "highly_variable" in adata.var else None
    mask = by_default if mask_var is None else mask_var
    genes = np.arange(adata.n_vars)
    if mask is not None and mask is not False:
        genes = np.flatnonzero(mask_of(adata.var, mask, "var"))
    part = matrix[:, genes]
    n_comps = _number(n_comps, part.shape, zero_center)
    if svd_solver == "auto":
        svd_solver = "covariance" if len(genes) <= _COVARIANCE else "randomized"
    if svd_solver == "covariance":
        found = _of_covariance(part, zero_center, n_comps)
    else:
        found = _of_iterations(part, zero_center, n_comps, n_iter, random_state)
    scores = np.empty((part.shape[0], n_comps), dtype=dtype)
    begin = 0
    for block in states(part, _Scores(found.vectors, found.shift, dtype)):
        scores[begin : begin + len(block)] = block
        begin += len(block)
    if not zero_center:
        found = found.explaining(scores)
    own(adata)
    loadings = np.zeros((adata.n_vars, n_comps))
    loadings[genes] = found.vectors
    names = ("X_pca", "PCs", "pca") if key_added is None else (key_added,) * 3
    adata.obsm[names[0]] = scores
    adata.varm[names[1]] = loadings
    adata.uns[names[2]] = {
        "params": _params(zero_center, mask if isinstance(mask, str) else None, layer),
        "variance": found.variances,
        "variance_ratio": found.variances / found.total,
    }
    return adata if copy else None


def _params(zero_center: bool, mask: str | None, layer: str | None) -> dict[str, Any]:
    """The entry "params", as scanpy writes it."""
    params = {
        "zero_center": zero_center,
        "use_highly_variable": mask == "highly_variable",
        "mask_var": mask,
    }
    return params if layer is None else params | {"layer": layer}


@dataclass(frozen=True)
class _Components:
    """The components of a matrix of cells × genes."""

    #: The mean of each gene, zeros if they are not subtracted.
    mean: np.ndarray
    #: The sum of the variances of all genes.
    total: float
    #: Genes × components, in descending order of their variances.
    vectors: np.ndarray
    variances: np.ndarray

    def __post_init__(self) -> None:
        # The greatest loading of each component is positive.
        greatest = np.abs(self.vectors).argmax(axis=0)
        self.vectors[:] *= np.sign(self.vectors[greatest, np.arange(self.vectors.shape[1])])

    @property
    def shift(self) -> np.ndarray:
        """The scores of the mean, which are subtracted from those of the cells."""
        return self.mean @ self.vectors

    def explaining(self, scores: np.ndarray) -> _Components:
        """The same with the variances of the scores, as scikit-learn's TruncatedSVD has
        them."""
        rows = len(scores)
        return replace(
            self,
            variances=scores.var(axis=0, dtype=np.float64),
            total=self.total * (rows - 1) / rows,
        )


def _number(wanted: int | None, shape: tuple[int, int], zero_center: bool) -> int:
    """The number of components."""
    most = min(shape) - (1 if zero_center else 0)
    if most < 1:
        raise SlafError(f"{shape[0]} cells × {shape[1]} genes have no principal components.")
    n_comps = min(50, min(shape) - 1) if wanted is None else wanted
    if not 1 <= n_comps <= most:
        raise ValueError(f"`n_comps` is between 1 and {most} here, not {n_comps}.")
    return n_comps


def _of_covariance(part: MatrixPlan, zero_center: bool, n: int) -> _Components:
    """Eigenvectors of the covariance matrix, which is summed in one pass."""
    from scipy.linalg import eigh

    rows, width = part.shape
    sums, gram = functools.reduce(_sum, states(part, _Gram(width)))
    mean = sums / rows
    total = (np.trace(gram) - rows * mean @ mean) / (rows - 1)
    if not zero_center:
        mean = np.zeros(width)
    covariance = (gram - rows * np.outer(mean, mean)) / (rows - 1)
    values, vectors = eigh(covariance, subset_by_index=[width - n, width - 1])
    return _Components(mean, total, vectors[:, ::-1].copy(), np.maximum(values[::-1], 0))


def _sum(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(map(np.add, a, b))


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


@dataclass(frozen=True)
class _Gram(OfAllRows):
    """The column sums and XᵀX of some cells."""

    width: int

    def __call__(self, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
        sparse_sums, dense_sums = _slaf.Gram(self.width), None
        sums = np.zeros(self.width)
        for _, block in blocks:
            sums += np.asarray(block.sum(axis=0, dtype=np.float64)).ravel()
            dense = isinstance(block, np.ndarray)
            share = 1.0 if dense else block.nnz / max(1, np.prod(block.shape))
            if share < _DENSE:
                sparse_sums.add(reduce.csr_arrays(block))
                continue
            x = (block if dense else block.toarray()).astype(np.float64, copy=False)
            product = x.T @ x
            dense_sums = product if dense_sums is None else dense_sums + product
        gram = sparse_sums.finish().reshape(self.width, self.width)
        return sums, gram if dense_sums is None else gram + dense_sums


def _of_iterations(
    part: MatrixPlan, zero_center: bool, n: int, n_iter: int, seed: int
) -> _Components:
    """Eigenvectors from a random subspace, which power iterations turn towards them."""
    rows, width = part.shape
    moments = reduce.moments(part, 0, squares=True)
    mean = moments.mean() if zero_center else np.zeros(width)
    size = min(n + 10, rows, width)
    basis = np.random.default_rng(seed).normal(size=(width, size))
    for _ in range(n_iter + 1):
        basis, _ = np.linalg.qr(basis)
        basis = _both(part, mean, basis)
    basis, _ = np.linalg.qr(basis)
    small = basis.T @ _both(part, mean, basis)
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    order = values.argsort()[::-1][:n]
    variances = np.maximum(values[order], 0) / (rows - 1)
    return _Components(mean, moments.var(ddof=1).sum(), basis @ vectors[:, order], variances)


def _both(part: MatrixPlan, mean: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(X - mean)ᵀ (X - mean) basis, in one pass."""
    sums = [0.0, 0.0]
    for found in states(part, _Both(basis, mean @ basis)):
        sums = [before + more for before, more in zip(sums, found, strict=True)]
    return sums[0] - np.outer(mean, sums[1])


@dataclass(frozen=True)
class _Both(OfAllRows):
    """Xᵀ (X basis - shift) of some cells, and the column sums of the factor in brackets."""

    basis: np.ndarray
    shift: np.ndarray

    def __call__(self, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
        out, sums = np.zeros_like(self.basis), np.zeros(self.basis.shape[1])
        for _, block in blocks:
            scores = block @ self.basis - self.shift
            out += block.T @ scores
            sums += scores.sum(axis=0)
        return out, sums
