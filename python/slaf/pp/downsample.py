"""Downsamples the counts of each cell at random."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from scipy import sparse

from slaf.ground import axes
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sources import Held
from slaf.lazy.state import state_of
from slaf.lazy.steps import Arrays
from slaf.lazy.stream import blocks_of
from slaf.pp.graph import scanpy_for
from slaf.pp.handles import matrix_of, require, set_matrix
from slaf.pp.sampling import legacy

#: Most counts for `total_counts`: scanpy lists all of them in memory, which takes 1 GB.
_AT_ONCE = 1 << 26


def downsample_counts(
    adata: LazyHandle,
    counts_per_cell: int | Collection[int] | None = None,
    total_counts: int | None = None,
    *,
    random_state: int | None = 0,
    replace: bool = False,
    copy: bool = False,
) -> LazyHandle | None:
    """Reduces counts to a maximum, at random: scanpy's `pp.downsample_counts`, with the
    same draws. With `counts_per_cell`, X becomes lazy: the counts of a cell are drawn
    whenever it is read, each time with the same result. `handle.write_slaf("new.slaf")`
    stores the result.

    Parameters
    ----------
    counts_per_cell
        The most counts of a cell: one number for all, or one for each cell.
    total_counts
        The most counts of all cells together. X is then held in memory, and may have up
        to 67 million counts.
    random_state
        The seed; None chooses one at random.
    replace
        Whether a count may be drawn several times.

    Raises
    ------
    ValueError
        Neither or both maxima are given, or X holds no counts, or too many.
    ImportError
        scanpy is not installed.
    """
    require(adata)
    if (counts_per_cell is None) == (total_counts is None):
        raise ValueError("Give one of `counts_per_cell` and `total_counts`.")
    scanpy_for("pp.downsample_counts")
    matrix = matrix_of(adata)
    _require_counts(matrix)
    seed = int(legacy(None).randint(2**31)) if random_state is None else random_state
    if counts_per_cell is not None:
        limits = np.asarray(counts_per_cell)
        if limits.ndim == 0:
            limits = np.full(adata.n_obs, limits)
        if limits.shape != (adata.n_obs,) or limits.dtype.kind not in "iu":
            raise ValueError("`counts_per_cell` is an integer, or one for each cell.")
        source: Any = Downsampled(matrix, limits.astype(np.int64), seed, replace)
    else:
        source = Held(_of_all(matrix, int(total_counts), seed, replace))
    if copy:
        adata = adata.copy()
    set_matrix(adata, None, MatrixPlan.of(source).named(state_of(adata).content.names))
    return adata if copy else None


class Downsampled:
    """A matrix source: the rows of another matrix, reduced to at most `limits` counts."""

    def __init__(self, matrix: MatrixPlan, limits: np.ndarray, seed: int, replace: bool):
        self.matrix, self.limits, self.seed, self.replace = matrix, limits, seed, replace
        self.shape, self.dtype, self.nnz = matrix.shape, matrix.dtype, None

    def csr(self, rows: axes.Positions, columns: axes.Positions) -> Arrays:
        # The draws depend on all counts of a row.
        wanted = self.matrix.at(rows, range(self.shape[1]))
        limits = axes.take(self.limits, rows)
        all_columns = axes.is_all(columns, self.shape[1])
        parts = [sparse.csr_matrix((0, len(columns)), dtype=self.dtype)]
        for start, block in blocks_of(wanted):
            part = self._drawn(block, limits[start : start + block.shape[0]])
            parts.append(part if all_columns else part[:, np.asarray(columns, dtype=np.int64)])
        whole = sparse.vstack(parts, format="csr", dtype=self.dtype)
        whole.sort_indices()
        return whole.indptr, whole.indices.astype(np.int32, copy=False), whole.data

    def _drawn(self, block: Any, limits: np.ndarray) -> sparse.csr_matrix:
        return _by_scanpy(block, self.seed, self.replace, counts_per_cell=limits)


def _by_scanpy(block: Any, seed: int, replace: bool, **limit: Any) -> sparse.csr_matrix:
    from anndata import AnnData

    part = AnnData(sparse.csr_matrix(block))
    scanpy = scanpy_for("pp.downsample_counts")
    scanpy.pp.downsample_counts(part, random_state=seed, replace=replace, **limit)
    return part.X


def _of_all(matrix: MatrixPlan, limit: int, seed: int, replace: bool) -> sparse.csr_matrix:
    total = reduce.moments(matrix, None).sum()
    if total > _AT_ONCE:
        raise ValueError(
            f"`total_counts` draws from all {total:,.0f} counts at once, and {_AT_ONCE:,} fit. "
            "`counts_per_cell` draws cell by cell."
        )
    return _by_scanpy(matrix.compute(), seed, replace, total_counts=limit)


def _require_counts(matrix: MatrixPlan) -> None:
    """Checks the first block."""
    for _, block in blocks_of(matrix):
        values = block.data if sparse.issparse(block) else block
        if values.dtype.kind == "f" and ((values % 1 != 0).any() or (values < 0).any()):
            raise ValueError(
                "X holds no counts, which are whole and not negative. Downsample before "
                "`normalize_total`, or undo that: `clear_transformations(handle)`."
            )
        return
