"""Highly variable genes, from means and variances that one pass gives.

The formulas are those of scanpy's `highly_variable_genes`: dispersions in bins
of genes of similar mean (Satija et al. 2015, Zheng et al. 2017), or variances
about a fitted trend (Stuart et al. 2019)."""

from __future__ import annotations

from warnings import warn

import numpy as np
import pandas as pd

from slaf import _slaf
from slaf.lazy import reduce
from slaf.lazy.handle import LazyAnnData
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.steps import Arrays, Step
from slaf.pp._handle import matrix_of, own

_FLAVORS = ("seurat", "cell_ranger", "seurat_v3", "seurat_v3_paper")


def highly_variable_genes(
    adata: LazyAnnData,
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
    """Marks the genes that vary more than their mean explains.

    Parameters
    ----------
    min_mean, max_mean, min_disp, max_disp
        Limits of the (normalised) mean and dispersion.
    n_top_genes
        So many genes instead; 2,000 by default for "seurat_v3".
    inplace
        Whether the result is set in `adata.var`, or returned.
    flavor
        "seurat" and "cell_ranger" take logarithms, "seurat_v3" and
        "seurat_v3_paper" counts.
    batch_key
        A column of obs: genes are chosen in each batch, and those that most
        batches choose come first.
    subset
        Whether the handle is left with these genes only.

    Raises
    ------
    ImportError
        "seurat_v3" needs scikit-misc.
    """
    if flavor not in _FLAVORS:
        near = _slaf.nearest(flavor, list(_FLAVORS)) or list(_FLAVORS)
        raise ValueError(f"There is no flavor {flavor!r}: choose {' or '.join(map(repr, near))}.")
    matrix = matrix_of(adata, layer)
    batches = _batches(adata, batch_key)
    if flavor.startswith("seurat_v3"):
        n_top = 2000 if n_top_genes is None else n_top_genes
        found = _by_trend(matrix, batches, n_top, span, flavor, check_values)
        found.index = adata.var_names
    else:
        cutoff = n_top_genes or (min_mean, max_mean, min_disp, max_disp)
        base = dict(adata.uns.get("log1p") or {}).get("base")
        found = _by_dispersion(matrix, batches, flavor, n_bins, cutoff, base, adata.var_names)
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
        adata._inplace_subset_var(found["highly_variable"].to_numpy())
    return None


def _batches(adata: LazyAnnData, key: str | None) -> np.ndarray:
    """The number of each cell's batch; -1: none."""
    if key is None:
        return np.zeros(adata.n_obs, dtype=np.int32)
    column = adata.obs[key]
    return column.astype("category").cat.codes.to_numpy(dtype=np.int32)


def _by_dispersion(
    matrix: LazyExpressionMatrix,
    batches: np.ndarray,
    flavor: str,
    n_bins: int,
    cutoff: int | tuple[float, ...],
    base: float | None,
    names: pd.Index,
) -> pd.DataFrame:
    if flavor == "seurat":
        undo = [Step("times", float(np.log(base)))] if base is not None else []
        matrix = matrix._after(*undo, Step("expm1"))
    n = int(batches.max(initial=0)) + 1
    found = reduce.grouped(matrix, batches, n)
    means, variances = found.mean(), found.var(ddof=1)
    if n == 1:
        return _one_batch(means[0], variances[0], flavor, n_bins, cutoff).set_axis(names)
    parts = []
    for batch in range(n):
        seen = found.nnz[batch] > 0
        part = _one_batch(means[batch][seen], variances[batch][seen], flavor, n_bins, cutoff)
        whole = pd.DataFrame(0.0, index=range(len(seen)), columns=part.columns)
        whole["highly_variable"] = False
        whole.loc[seen] = part.set_axis(np.flatnonzero(seen))
        parts.append(whole)
    return _over_batches(parts, cutoff, names)


def _one_batch(
    mean: np.ndarray,
    variance: np.ndarray,
    flavor: str,
    n_bins: int,
    cutoff: int | tuple[float, ...],
) -> pd.DataFrame:
    mean = np.where(mean == 0, 1e-12, mean)
    dispersion = variance / mean
    if flavor == "seurat":
        dispersion = np.log(np.where(dispersion == 0, np.nan, dispersion))
        mean = np.log1p(mean)
        bins = n_bins
    else:
        bins = np.r_[-np.inf, np.percentile(mean, np.arange(10, 105, 5)), np.inf]
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
    matrix: LazyExpressionMatrix,
    batches: np.ndarray,
    n_top: int,
    span: float,
    flavor: str,
    check_values: bool,
) -> pd.DataFrame:
    try:
        from skmisc.loess import loess
    except ImportError:
        raise ImportError(
            f"The flavor {flavor!r} needs scikit-misc: `pip install scikit-misc`."
        ) from None
    if check_values and not _counts(matrix):
        warn(f"`{flavor=!r}` expects raw count data, but non-integers were found.", stacklevel=4)
    n = int(batches.max(initial=0)) + 1
    of_batch = reduce.grouped(matrix, batches, n)
    whole = reduce.moments(matrix, 0, squares=True)
    means, variances = of_batch.mean(), of_batch.var(ddof=1)
    norms = []
    for batch in range(n):
        mean, variance = means[batch], variances[batch]
        varies = variance > 0
        fitted = np.zeros(len(mean))
        model = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=span, degree=2)
        model.fit()
        fitted[varies] = model.outputs.fitted_values
        std = np.sqrt(10**fitted)
        rows = np.flatnonzero(batches == batch)
        limit = std * np.sqrt(len(rows)) + mean
        clipped = reduce.moments(matrix[rows]._after(Step("clip_columns", limit)), 0, squares=True)
        total = clipped.sum()
        second = clipped.squares + total * total / len(rows)
        norms.append((len(rows) * mean**2 + second - 2 * total * mean) / ((len(rows) - 1) * std**2))
    norms = np.array(norms)
    ranks = np.argsort(np.argsort(-norms, axis=1), axis=1).astype(np.float32)
    chosen_by = (ranks < n_top).sum(axis=0)
    ranks[ranks >= n_top] = np.nan
    rank = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.nan)
    found = pd.DataFrame(
        {
            "means": whole.mean(),
            "variances": whole.var(ddof=1),
            "highly_variable_nbatches": chosen_by,
            "highly_variable_rank": rank,
            "variances_norm": norms.mean(axis=0),
        }
    )
    keys = ["highly_variable_rank", "highly_variable_nbatches"]
    ascending = [True, False]
    if flavor == "seurat_v3_paper":
        keys, ascending = keys[::-1], ascending[::-1]
    order = found[keys].sort_values(keys, ascending=ascending, na_position="last").index
    found["highly_variable"] = found.index.isin(order[:n_top])
    return found


def _counts(matrix: LazyExpressionMatrix) -> bool:
    """Whether all values count something."""
    fractions = []

    def take(_: int, arrays: Arrays) -> None:
        data = arrays[2]
        if data.dtype.kind == "f":
            fractions.append(bool((data % 1 != 0).any() or (data < 0).any()))

    reduce.fold(matrix, take)
    return not any(fractions)
