"""Highly variable genes, from means and variances that are computed in one pass.

The formulas are those of scanpy's `highly_variable_genes`: dispersions in bins of genes
with similar means (Satija et al. 2015, Zheng et al. 2017), or variances about a fitted
trend (Stuart et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from warnings import warn

import numpy as np
import pandas as pd

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.state import state_of
from slaf.lazy.steps import Step
from slaf.lazy.tasks import Blocks, OfAllRows, states
from slaf.pp.handles import cells_of, matrix_of, own, warn_of_skipped

_FLAVORS = ("seurat", "cell_ranger", "seurat_v3", "seurat_v3_paper")


def highly_variable_genes(
    adata: LazyHandle,
    min_mean: float = 0.0125,
    max_mean: float = 3,
    min_disp: float = 0.5,
    max_disp: float = np.inf,
    n_top_genes: int | None = None,
    inplace: bool = True,
    *,
    flavor: str = "seurat",
    batch_key: str | None = None,
    n_bins: int = 20,
    span: float = 0.3,
    subset: bool = False,
    layer: str | None = None,
    check_values: bool = True,
) -> pd.DataFrame | None:
    """Finds the genes that vary more than genes with a similar mean.

    Parameters
    ----------
    min_mean, max_mean, min_disp, max_disp
        Limits of the mean and of the normalised dispersion.
    n_top_genes
        The number of genes, instead of limits; for "seurat_v3" 2,000 by default.
    inplace
        Set the result in `adata.var`; False returns it as a frame.
    flavor
        "seurat" and "cell_ranger" expect logarithms, "seurat_v3" and "seurat_v3_paper"
        expect counts.
    batch_key
        A column of obs. Genes are selected in each batch, and those that most batches
        select come first. Batches that are too small are skipped, with a warning that names
        them.
    subset
        Keep only these genes in the handle, or in the frame.

    Raises
    ------
    ValueError
        The flavor does not exist.
    ImportError
        scikit-misc, which "seurat_v3" needs, is not installed.
    SlafError
        There are too few cells, or values that are not finite.
    """
    if flavor not in _FLAVORS:
        near = _slaf.nearest(flavor, list(_FLAVORS)) or list(_FLAVORS)
        raise ValueError(f"There is no flavor {flavor!r}: choose {' or '.join(map(repr, near))}.")
    matrix = matrix_of(adata, layer)
    batches = _Batches.of(adata, batch_key)
    if flavor.startswith("seurat_v3"):
        n_top = 2000 if n_top_genes is None else n_top_genes
        found = _by_trend(matrix, batches, n_top, span, flavor, check_values)
        found.index = adata.var_names
    else:
        cutoff = n_top_genes or (min_mean, max_mean, min_disp, max_disp)
        base = dict(adata.uns.get("log1p") or {}).get("base")
        found = _by_dispersion(matrix, batches, flavor, n_bins, cutoff, base, adata.var_names)
    batches.warn()
    if batch_key is None:
        found = found.drop(columns="highly_variable_nbatches", errors="ignore")
    if not inplace:
        return found[found["highly_variable"]] if subset else found
    own(adata)
    adata.uns["hvg"] = {"flavor": flavor}
    for name, column in found.items():
        narrow = name == "dispersions_norm"
        adata.var[name] = column.to_numpy(dtype=np.float32) if narrow else column.to_numpy()
    if subset:
        state = state_of(adata)
        state.become(state[:, found["highly_variable"].to_numpy()])
    return None


class _TooSmall(SlafError):
    """A batch is too small for an estimate."""


@dataclass
class _Batches:
    """Batches of two cells or more, and why others are skipped.

    Attributes
    ----------
    of_cell
        The number of each cell's batch; -1: none.
    """

    key: str | None
    of_cell: np.ndarray
    names: list[str]
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, adata: LazyHandle, key: str | None) -> _Batches:
        if key is None:
            if adata.n_obs < 2:
                raise SlafError("Genes vary between cells, and there are fewer than two.")
            return cls(None, np.zeros(adata.n_obs, dtype=np.int32), ["all cells"])
        labels = adata.obs[key].astype("category")
        codes = labels.cat.codes.to_numpy()
        sizes = np.bincount(codes[codes >= 0], minlength=len(labels.cat.categories))
        large = sizes > 1
        numbers = np.append(np.where(large, np.cumsum(large) - 1, -1), -1).astype(np.int32)
        every = [str(name) for name in labels.cat.categories]
        skipped = {every[at]: cells_of(sizes[at]) for at in np.flatnonzero(~large)}
        batches = cls(key, numbers[codes], [every[at] for at in np.flatnonzero(large)], skipped)
        batches.require(batches.names)
        return batches

    def skip(self, batch: int, error: _TooSmall) -> None:
        if self.key is None:
            reason = str(error)
            raise SlafError(f"{reason[0].upper()}{reason[1:]}.")
        self.skipped[self.names[batch]] = str(error)

    def require(self, left: list) -> None:
        if not left:
            reasons = ", ".join(f"{name!r} ({why})" for name, why in self.skipped.items())
            raise SlafError(f"No batch of obs[{self.key!r}] is large enough: {reasons or 'none'}.")

    def warn(self) -> None:
        warn_of_skipped(f"batches of obs[{self.key!r}]", self.skipped)


def _by_dispersion(
    matrix: MatrixPlan,
    batches: _Batches,
    flavor: str,
    n_bins: int,
    cutoff: int | tuple[float, ...],
    base: float | None,
    names: pd.Index,
) -> pd.DataFrame:
    if flavor == "seurat":
        undo = [Step("times", float(np.log(base)))] if base is not None else []
        matrix = matrix.after(*undo, Step("expm1"))
    found = reduce.grouped(matrix, batches.of_cell, len(batches.names))
    means, variances = found.mean(), found.var(ddof=1)
    expressed = np.ones_like(found.nnz, dtype=bool)
    if batches.key is not None:
        of_values = lambda m: reduce.grouped(m, batches.of_cell, len(batches.names))  # noqa: E731
        expressed = reduce.above_zero(matrix, found, of_values) > 0
    parts = []
    for batch, seen in enumerate(expressed):
        try:
            part = _one_batch(means[batch][seen], variances[batch][seen], flavor, n_bins, cutoff)
        except _TooSmall as error:
            batches.skip(batch, error)
            continue
        whole = pd.DataFrame(0.0, index=range(len(seen)), columns=part.columns)
        whole["highly_variable"] = False
        whole.loc[seen] = part.set_axis(np.flatnonzero(seen))
        parts.append(whole)
    batches.require(parts)
    return parts[0].set_axis(names) if batches.key is None else _over_batches(parts, cutoff, names)


def _one_batch(
    mean: np.ndarray,
    variance: np.ndarray,
    flavor: str,
    n_bins: int,
    cutoff: int | tuple[float, ...],
) -> pd.DataFrame:
    if not len(mean):
        raise _TooSmall("there are no values")
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise SlafError(
            "The mean or variance of some genes is not finite: the matrix holds NaN or infinity"
            + (", or counts. Take logarithms first: `pp.log1p`." if flavor == "seurat" else ".")
        )
    mean = np.where(mean == 0, 1e-12, mean)
    dispersion = variance / mean
    if flavor == "seurat":
        dispersion = np.log(np.where(dispersion <= 0, np.nan, dispersion))
        mean = np.log1p(mean)
        bins = n_bins
    else:
        bins = np.r_[-np.inf, np.percentile(mean, np.arange(10, 105, 5)), np.inf]
        if (np.diff(bins) == 0).any():
            raise _TooSmall(
                "too many genes have one mean for bins of 'cell_ranger'; leave out genes that few "
                "cells have, by `pp.filter_genes`, or take flavor='seurat'"
            )
    genes = pd.DataFrame({"means": mean, "dispersions": dispersion})
    genes["mean_bin"] = pd.cut(genes["means"], bins=bins)
    of_bin = genes.groupby("mean_bin", observed=True)["dispersions"]
    if flavor == "seurat":
        stats = of_bin.agg(avg="mean", dev="std")
        alone = stats["dev"].isna()
        # A gene that is alone in its bin has the normalised dispersion 1.
        stats.loc[alone, "dev"] = stats.loc[alone, "avg"]
        stats.loc[alone, "avg"] = 0
    else:
        stats = of_bin.agg(avg="median", dev=_deviation)
    stats = stats.loc[genes["mean_bin"]].set_index(genes.index)
    genes["dispersions_norm"] = (genes["dispersions"] - stats["avg"]) / stats["dev"]
    genes["highly_variable"] = _chosen(mean, genes["dispersions_norm"].to_numpy(), cutoff)
    return genes.drop(columns="mean_bin")[
        ["highly_variable", "means", "dispersions", "dispersions_norm"]
    ]


def _deviation(values: pd.Series) -> float:
    from scipy.stats import median_abs_deviation

    return median_abs_deviation(values, scale="normal")


def _chosen(mean: np.ndarray, norm: np.ndarray, cutoff: int | tuple[float, ...]) -> np.ndarray:
    if isinstance(cutoff, tuple):
        return _within(mean, np.nan_to_num(norm), cutoff)
    known = np.sort(norm[~np.isnan(norm)])[::-1]
    if cutoff > known.size:
        warn(
            "`n_top_genes` > number of normalized dispersions, returning all genes with "
            "normalized dispersions.",
            UserWarning,
            stacklevel=5,
        )
    if not known.size:
        return np.zeros(len(norm), dtype=bool)
    return np.nan_to_num(norm, nan=-np.inf) >= known[min(cutoff, known.size) - 1]


def _within(mean: np.ndarray, norm: np.ndarray, cutoff: tuple[float, ...]) -> np.ndarray:
    min_mean, max_mean, min_disp, max_disp = cutoff
    return (mean > min_mean) & (mean < max_mean) & (norm > min_disp) & (norm < max_disp)


def _over_batches(
    parts: list[pd.DataFrame], cutoff: int | tuple[float, ...], names: pd.Index
) -> pd.DataFrame:
    columns = ["means", "dispersions", "dispersions_norm"]
    every = pd.concat(parts)
    found = every.groupby(every.index)[columns].mean()
    chosen = sum(part["highly_variable"].to_numpy(dtype=int) for part in parts)
    found["highly_variable_nbatches"] = chosen
    found["highly_variable_intersection"] = chosen == len(parts)
    if isinstance(cutoff, tuple):
        found["dispersions_norm"] = found["dispersions_norm"].fillna(0)
        norm = found["dispersions_norm"].to_numpy()
        found["highly_variable"] = _within(found["means"].to_numpy(), norm, cutoff)
    else:
        order = (
            found.set_axis(names)
            .sort_index()
            .sort_values(
                ["highly_variable_nbatches", "dispersions_norm"],
                ascending=False,
                na_position="last",
            )
        )
        found["highly_variable"] = names.isin(order.index[:cutoff])
    return found.set_axis(names)


def _by_trend(
    matrix: MatrixPlan,
    batches: _Batches,
    n_top: int,
    span: float,
    flavor: str,
    check_values: bool,
) -> pd.DataFrame:
    if find_spec("skmisc") is None:
        raise ImportError(f"The flavor {flavor!r} needs scikit-misc: `pip install scikit-misc`.")
    if check_values and not _counts(matrix):
        warn(f"`{flavor=!r}` expects raw count data, but non-integers were found.", stacklevel=4)
    of_batch = reduce.grouped(matrix, batches.of_cell, len(batches.names))
    whole = reduce.moments(matrix, 0, squares=True)
    means, variances = of_batch.mean(), of_batch.var(ddof=1)
    norms = []
    for batch in range(len(batches.names)):
        mean, variance = means[batch], variances[batch]
        try:
            std = _trend(mean, variance, span)
        except _TooSmall as error:
            batches.skip(batch, error)
            continue
        rows = np.flatnonzero(batches.of_cell == batch)
        limit = std * np.sqrt(len(rows)) + mean
        clipped = reduce.moments(matrix[rows].after(Step("clip_columns", limit)), 0, squares=True)
        total = clipped.sum()
        second = clipped.squares + total * total / len(rows)
        norms.append((len(rows) * mean**2 + second - 2 * total * mean) / ((len(rows) - 1) * std**2))
    batches.require(norms)
    normed = np.array(norms)
    ranks = np.argsort(np.argsort(-normed, axis=1), axis=1).astype(np.float32)
    chosen_by = (ranks < n_top).sum(axis=0)
    ranks[ranks >= n_top] = np.nan
    rank = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.nan)
    found = pd.DataFrame(
        {
            "means": whole.mean(),
            "variances": whole.var(ddof=1),
            "highly_variable_nbatches": chosen_by,
            "highly_variable_rank": rank,
            "variances_norm": normed.mean(axis=0),
        }
    )
    keys = ["highly_variable_rank", "highly_variable_nbatches"]
    ascending = [True, False]
    if flavor == "seurat_v3_paper":
        keys, ascending = keys[::-1], ascending[::-1]
    order = found[keys].sort_values(keys, ascending=ascending, na_position="last").index
    found["highly_variable"] = found.index.isin(order[:n_top])
    return found


def _trend(mean: np.ndarray, variance: np.ndarray, span: float) -> np.ndarray:
    """The standard deviation that is expected of each gene from its mean."""
    from skmisc.loess import loess

    varies = variance > 0
    fitted = np.zeros(len(mean))
    try:
        # With less than one point in its window, loess would end the process.
        if span * varies.sum() < 3:
            raise ValueError
        model = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=span, degree=2)
        model.fit()
        fitted[varies] = model.outputs.fitted_values
    except (ValueError, ZeroDivisionError):
        raise _TooSmall(
            f"a trend of variances cannot be fitted to the {int(varies.sum()):,} genes that vary; "
            "raise `span`, or take flavor='seurat'"
        ) from None
    return np.sqrt(10**fitted)


def _counts(matrix: MatrixPlan) -> bool:
    """Whether all values are counts."""
    return all(states(matrix, _Whole()))


class _Whole(OfAllRows):
    """Whether the values of some cells are counts."""

    def __call__(self, blocks: Blocks) -> bool:
        return all(_are_counts(reduce.csr_arrays(block)[2]) for _, block in blocks)


def _are_counts(values: np.ndarray) -> bool:
    return values.dtype.kind != "f" or not ((values % 1 != 0).any() or (values < 0).any())
