"""Quality control: totals and numbers of genes per cell, and of cells per gene."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from slaf import _slaf
from slaf.lazy import reduce
from slaf.lazy.counts import Counts, counts, known_counts
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.state import state_of
from slaf.lazy.tasks import Blocks, OfAllRows, states
from slaf.pp.handles import mask_of, matrix_of, own


def calculate_qc_metrics(
    adata: LazyHandle,
    percent_top: int | Iterable[int] | None = None,
    log1p: bool = True,
    inplace: bool = True,
    *,
    qc_vars: Collection[str] | str = (),
    expr_type: str = "counts",
    var_type: str = "genes",
    layer: str | None = None,
    use_raw: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Quality control metrics, under scanpy's names. Reads the matrix once, or, if the
    dataset stores the sums that are needed, not at all.

    Parameters
    ----------
    percent_top
        Numbers of genes: adds the share of each cell's counts in so many of its genes with
        the most counts.
    log1p
        Add logarithms of the metrics.
    inplace
        Set the metrics in `adata.obs` and `adata.var`; False returns them.
    qc_vars
        Boolean columns of var: adds each cell's counts in the genes of each column.

    Returns
    -------
    If `inplace` is False, a frame of cells and a frame of genes. Numbers of genes and cells
    are integers, everything else is float64.

    Raises
    ------
    IndexError
        `percent_top` has numbers below 1, or above the number of genes.
    """
    matrix = matrix_of(adata, layer, use_raw=use_raw)
    names = [qc_vars] if isinstance(qc_vars, str) else list(qc_vars)
    tops = sorted([percent_top] if isinstance(percent_top, int) else list(percent_top or ()))
    if tops and (tops[-1] > matrix.shape[1] or tops[0] <= 0):
        raise IndexError("Positions outside range of features.")
    source = adata.raw if use_raw else adata
    masks = np.array([mask_of(source.var, name, "var") for name in names], dtype=bool)
    pass_ = _Pass(matrix, tops, masks)
    obs = _describe_obs(pass_, names, tops, expr_type, var_type, log1p)
    var = _describe_var(pass_, expr_type, log1p)
    if not inplace:
        return pd.DataFrame(obs, index=adata.obs_names), pd.DataFrame(var, index=source.var_names)
    own(adata)
    for name, column in obs.items():
        adata.obs[name] = column
    if not use_raw:
        for name, column in var.items():
            adata.var[name] = column
    return None


class _Pass:
    """Everything that is counted: from stored sums and the genes of the masks, or in one
    pass over the matrix."""

    def __init__(self, matrix: MatrixPlan, tops: list[int], masks: np.ndarray):
        self.height, width = matrix.shape
        rows, columns = (None if tops else known_counts(matrix, axis) for axis in (1, 0))
        if rows is not None and columns is not None and _few(masks, columns):
            self.rows, self.columns = rows, columns
            masked = [counts(matrix[:, mask], 1).total for mask in masks]
            self.masked = np.reshape(masked, (len(masks), self.height)).T
            return
        weights = masks.reshape(len(masks), width).T.astype(np.float64)
        of_cells = []

        def of_genes() -> Iterator[reduce.Moments]:
            for moments, *rest in states(matrix, _OfCells(width, tops, weights)):
                of_cells.append(rest)
                yield moments

        genes = reduce.merged(of_genes()).flat()
        cells, top_sums, masked = zip(*of_cells, strict=True)
        self.rows = Counts.of(reduce.joined(cells, width))
        self.columns = Counts.of(genes)
        self.tops, self.masked = np.concatenate(top_sums), np.concatenate(masked)


def _few(masks: np.ndarray, columns: Counts) -> bool:
    """Whether less than a quarter of the values are of genes in the masks."""
    values = sum(columns.nonzero[mask].sum() for mask in masks)
    return values < columns.nonzero.sum() / 4


@dataclass(frozen=True)
class _OfCells(OfAllRows):
    """For some cells: the moments of genes and of cells, the sums of each cell's greatest
    values, and its sums over the genes of each mask."""

    width: int
    tops: list[int]
    #: genes × masks
    weights: np.ndarray

    def __call__(self, blocks: Blocks) -> tuple:
        columns, rows = _slaf.Moments(self.width), []
        tops = [np.zeros((0, len(self.tops)))]
        masked = [np.zeros((0, self.weights.shape[1]))]
        for _, block in blocks:
            arrays = reduce.csr_arrays(block)
            columns.add(arrays)
            rows.append(_slaf.row_moments(arrays, self.width))
            if self.tops:
                found = _slaf.top_sums(arrays, self.width, self.tops)
                tops.append(found.reshape(-1, len(self.tops)))
            masked.append(reduce.block_of(arrays, self.width) @ self.weights)
        found = reduce.finished(columns, self.width)
        return found, reduce.stacked(rows), np.concatenate(tops), np.concatenate(masked)


def _describe_obs(
    found: _Pass,
    names: list[str],
    tops: list[int],
    expr_type: str,
    var_type: str,
    log1p: bool,
) -> dict[str, np.ndarray]:
    metrics: dict[str, np.ndarray] = {}

    def add(name: str, values: np.ndarray) -> None:
        metrics[name] = values
        if log1p:
            metrics[f"log1p_{name}"] = np.log1p(values)

    add(f"n_{var_type}_by_{expr_type}", found.rows.nonzero)
    total = found.rows.total
    add(f"total_{expr_type}", total)
    with np.errstate(invalid="ignore", divide="ignore"):
        for at, n in enumerate(tops):
            share = found.tops[:, at] / total
            metrics[f"pct_{expr_type}_in_top_{n}_{var_type}"] = share * 100
        for at, name in enumerate(names):
            add(f"total_{expr_type}_{name}", found.masked[:, at])
            metrics[f"pct_{expr_type}_{name}"] = found.masked[:, at] / total * 100
    return metrics


def _describe_var(found: _Pass, expr_type: str, log1p: bool) -> dict[str, np.ndarray]:
    total, nonzero = found.columns
    with np.errstate(invalid="ignore"):
        mean = total / found.height
    metrics: dict[str, np.ndarray] = {f"n_cells_by_{expr_type}": nonzero}
    metrics[f"mean_{expr_type}"] = mean
    if log1p:
        metrics[f"log1p_mean_{expr_type}"] = np.log1p(mean)
    metrics[f"pct_dropout_by_{expr_type}"] = (1 - nonzero / max(1, found.height)) * 100
    metrics[f"total_{expr_type}"] = total
    if log1p:
        metrics[f"log1p_total_{expr_type}"] = np.log1p(total)
    return metrics


def filter_cells(
    adata: LazyHandle,
    min_counts: int | None = None,
    min_genes: int | None = None,
    max_counts: int | None = None,
    max_genes: int | None = None,
    inplace: bool = True,
) -> LazyHandle | None:
    """Removes cells with too few or too many counts or genes, and sets their numbers in
    `obs["n_counts"]` or `obs["n_genes"]`. With `inplace=False`, returns a view of the
    remaining cells, and does not change the handle. Reads the sums of cells.

    Raises
    ------
    ValueError
        No limit is given.
    """
    limits = (("n_counts", min_counts, max_counts), ("n_genes", min_genes, max_genes))
    return _filter(adata, 1, limits, inplace)


def filter_genes(
    adata: LazyHandle,
    min_counts: int | None = None,
    min_cells: int | None = None,
    max_counts: int | None = None,
    max_cells: int | None = None,
    inplace: bool = True,
) -> LazyHandle | None:
    """Removes genes with too few or too many counts or cells, and sets their numbers in
    `var["n_counts"]` or `var["n_cells"]`. With `inplace=False`, returns a view of the
    remaining genes, and does not change the handle. Reads the sums of genes.

    Raises
    ------
    ValueError
        No limit is given.
    """
    limits = (("n_counts", min_counts, max_counts), ("n_cells", min_cells, max_cells))
    return _filter(adata, 0, limits, inplace)


def _filter(adata: LazyHandle, axis: int, limits: tuple, inplace: bool) -> LazyHandle | None:
    matrix = matrix_of(adata)
    if all(low is None and high is None for _, low, high in limits):
        raise ValueError("Give at least one limit, a minimum or a maximum.")
    found = _expressed(matrix, axis)
    keep = np.ones(matrix.shape[1 - axis], dtype=bool)
    noted = {}
    for name, low, high in limits:
        if low is None and high is None:
            continue
        noted[name] = found.total if name == "n_counts" else found.nonzero
        if low is not None:
            keep &= noted[name] >= low
        if high is not None:
            keep &= noted[name] <= high
    view = adata[keep] if axis == 1 else adata[:, keep]
    if not inplace:
        return view
    state_of(adata).become(state_of(view))
    frame = adata.obs if axis == 1 else adata.var
    for name, values in noted.items():
        frame[name] = values[keep]
    return None


def _expressed(matrix: MatrixPlan, axis: int) -> Counts:
    """Totals, and numbers of values above zero, which scanpy counts as expressed."""
    if not matrix.steps and getattr(matrix.source, "is_unsigned", False):
        return counts(matrix, axis)
    found = reduce.moments(matrix, axis)
    above = reduce.above_zero(matrix, found, lambda m: reduce.moments(m, axis))
    return Counts(found.sum(), above)
