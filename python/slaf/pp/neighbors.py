"""Neighbours of cells: scanpy's, or exactly, by the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from slaf import _slaf
from slaf.lazy.handle import LazyHandle
from slaf.pp.graph import scanpy_for, without_matrix
from slaf.pp.handles import require
from slaf.pp.principal_components import pca

#: Number of cells in one search.
_BLOCK = 4096
#: scanpy's name of a metric → the engine's name.
_METRICS = {"euclidean": "l2", "cosine": "cosine"}


def neighbors(
    adata: LazyHandle,
    n_neighbors: int = 15,
    n_pcs: int | None = None,
    *,
    use_rep: str | None = None,
    transformer: Any = None,
    metric: str = "euclidean",
    **options: Any,
) -> LazyHandle | None:
    """The graph of the nearest cells in an embedding: scanpy's `pp.neighbors`. If no
    embedding is named and `X_pca` does not exist, `pp.pca` makes it; otherwise, X is not read.

    Parameters
    ----------
    n_pcs, use_rep
        The key of an array in obsm, and the number of its columns to use; by default, all
        columns of `X_pca`.
    transformer
        "exact" compares each cell with all others, on all cores; the time grows with the
        square of the number of cells. Everything else is as in scanpy, whose default is
        exact below 4,096 cells and approximate from there on.
    metric
        For "exact", "euclidean" or "cosine".
    options
        All other parameters of scanpy's function.

    Raises
    ------
    ValueError
        The neighbours would be searched in X, the metric does not exist, or the metric is
        "cosine" and a vector has only zeros.
    ImportError
        scanpy is not installed.
    """
    require(adata)
    few = scanpy_for("pp.neighbors").settings.N_PCS
    if use_rep == "X" and "X" not in adata.obsm or (use_rep is None and adata.n_vars <= few):
        raise ValueError(
            "Neighbours are looked up in an embedding, not in X. Make one by `pp.pca(handle)`, and "
            "name it: `use_rep='X_pca'`."
        )
    if use_rep is None and "X_pca" not in adata.obsm:
        pca(adata, n_comps=n_pcs or few)
    if transformer == "exact":
        n = adata.n_obs
        transformer = ExactNeighbors(n_neighbors if n_neighbors <= n else 1 + n // 2, metric)
    return without_matrix("pp", "neighbors")(
        adata,
        n_neighbors,
        n_pcs,
        use_rep=use_rep,
        transformer=transformer,
        metric=metric,
        **options,
    )


class ExactNeighbors:
    """A transformer with scikit-learn's interface: from vectors (cells × dimensions) to a
    CSR matrix with the distances of each cell to its `n_neighbors` - 1 nearest other cells.

    Raises
    ------
    ValueError
        The metric does not exist.
    """

    def __init__(self, n_neighbors: int, metric: str = "euclidean"):
        if metric not in _METRICS:
            raise ValueError(
                f"The metric of exact neighbours is 'euclidean' or 'cosine', not {metric!r}."
            )
        self.n_neighbors, self.metric = n_neighbors, metric

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"n_neighbors": self.n_neighbors, "metric": self.metric}

    def fit_transform(self, x: Any) -> sparse.csr_matrix:
        vectors = np.ascontiguousarray(x, dtype=np.float32)
        n, others = len(vectors), self.n_neighbors - 1
        indices, distances = np.empty((n, others), np.int64), np.empty((n, others))
        for start in range(0, n, _BLOCK):
            part = slice(start, start + _BLOCK)
            found, apart = _slaf.nearest_of(
                vectors, vectors[part], self.n_neighbors, _METRICS[self.metric], None
            )
            if (found < 0).any():
                raise ValueError("A vector of zeros has no cosine: name metric='euclidean'.")
            cell = found == np.arange(start, start + len(found))[:, None]
            # If many vectors are equal, the cell itself may not be among the first.
            cell[~cell.any(axis=1), -1] = True
            indices[part] = found[~cell].reshape(-1, others)
            distances[part] = apart[~cell].reshape(-1, others)
        ends = np.arange(n + 1) * others
        return sparse.csr_matrix((distances.ravel(), indices.ravel(), ends), shape=(n, n))
