"""Scores for the expression of gene sets in cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd

from slaf import _slaf
from slaf.ground.hints import did_you_mean
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.stream import blocks_of
from slaf.pp.handles import matrix_of, own, require, takes_raw
from slaf.pp.sampling import legacy


def score_genes(
    adata: LazyHandle,
    gene_list: str | Sequence[str],
    *,
    ctrl_as_ref: bool = True,
    ctrl_size: int = 50,
    gene_pool: Sequence[str] | None = None,
    n_bins: int = 25,
    score_name: str = "score",
    random_state: int | np.random.RandomState | None = 0,
    copy: bool = False,
    use_raw: bool | None = None,
    layer: str | None = None,
) -> LazyHandle | None:
    """The mean expression of a set of genes minus that of control genes with a similar
    expression: scanpy's `tl.score_genes`, with the same control genes for the same
    `random_state`. Reads the sums of all genes, and then only the values of the set and
    the controls.

    Parameters
    ----------
    gene_list
        The set. Missing genes are left out, with a warning.
    ctrl_as_ref
        Whether controls are drawn from all genes and those of the set removed afterwards.
    ctrl_size
        The number of controls for each level of expression.
    gene_pool
        The genes from which controls are drawn; by default all.
    n_bins
        The number of levels of expression.
    score_name
        The column of obs to set, float64.

    Raises
    ------
    ValueError
        No gene of the set or of the pool exists, or several genes have the same name.
    RuntimeError
        There are no controls.
    """
    require(adata)
    raw = takes_raw(adata, use_raw, layer)
    names = (adata.raw if raw else adata).var_names
    matrix = matrix_of(adata, layer, use_raw=raw)
    genes, pool = _genes(names, gene_list), _pool(names, gene_pool)
    of_pool = matrix if gene_pool is None else matrix[:, names.get_indexer(pool)]
    levels = _levels(nan_means(of_pool, 0), pool, n_bins)
    draws = None if random_state is None else legacy(random_state)
    controls = pd.Index([], dtype="string")
    for drawn in _controls(levels, genes, ctrl_as_ref, ctrl_size, draws):
        controls = controls.union(drawn)
    if not len(controls):
        hint = " Try `ctrl_as_ref=False`." if ctrl_as_ref else ""
        raise RuntimeError(f"No other genes are expressed like these, to compare with.{hint}")
    of_set, of_controls = (
        nan_means(matrix[:, names.get_indexer(some)], 1) for some in (genes, controls)
    )
    if copy:
        adata = adata.copy()
    own(adata)
    adata.obs[score_name] = of_set - of_controls
    return adata if copy else None


def score_genes_cell_cycle(
    adata: LazyHandle,
    *,
    s_genes: Sequence[str],
    g2m_genes: Sequence[str],
    copy: bool = False,
    **kwargs: Any,
) -> LazyHandle | None:
    """Scores the genes of the S and the G2M phase, and derives each cell's phase: scanpy's
    `tl.score_genes_cell_cycle`. Sets `obs["S_score"]`, `obs["G2M_score"]` and
    `obs["phase"]`, which is "S", "G2M" or "G1". Other parameters and errors are those of
    :func:`score_genes`, except `ctrl_size`."""
    require(adata)
    if copy:
        adata = adata.copy()
    size = min(len(s_genes), len(g2m_genes))
    for genes, name in ((s_genes, "S_score"), (g2m_genes, "G2M_score")):
        score_genes(adata, genes, score_name=name, ctrl_size=size, **kwargs)
    s, g2m = adata.obs["S_score"].to_numpy(), adata.obs["G2M_score"].to_numpy()
    adata.obs["phase"] = np.select([(s < 0) & (g2m < 0), g2m > s], ["G1", "G2M"], "S")
    return adata if copy else None


def _genes(names: pd.Index, wanted: str | Sequence[str]) -> pd.Index:
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise ValueError(
            f"{twice!r} is the name of {(names == twice).sum()} genes. "
            "`handle.var_names_make_unique()` tells them apart."
        )
    genes = pd.Index([wanted] if isinstance(wanted, str) else wanted)
    found, missing = genes.intersection(names), genes.difference(names, sort=False)
    if not len(missing):
        return found
    near = did_you_mean(_slaf.nearest(str(missing[0]), list(map(str, names))))
    if not len(found):
        raise ValueError(f"None of the genes to score is there, such as {missing[0]!r}.{near}")
    listed = ", ".join(map(repr, missing[:5])) + (" ..." if len(missing) > 5 else "")
    warn(f"Genes that do not exist are left out: {listed}.{near}", UserWarning, stacklevel=3)
    return found


def _pool(names: pd.Index, wanted: Sequence[str] | None) -> pd.Index:
    if wanted is None:
        return names.astype("string")
    pool = pd.Index(wanted, dtype="string").intersection(names)
    if not len(pool):
        raise ValueError("None of the genes of `gene_pool` is there.")
    return pool


def _levels(means: np.ndarray, pool: pd.Index, n_bins: int) -> pd.Series:
    """The level of expression of each gene, from 0."""
    known = pd.Series(means, index=pool)
    known = known[np.isfinite(known)]
    size = int(np.round(len(known) / (n_bins - 1))) if n_bins > 1 else 0
    if not size:
        raise ValueError(f"{len(known)} genes do not fill {n_bins} levels: lower `n_bins`.")
    return known.rank(method="min") // size


def _controls(
    levels: pd.Series, genes: pd.Index, ctrl_as_ref: bool, size: int, draws: Any
) -> Iterator[pd.Index]:
    unknown = genes.difference(levels.index)
    if len(unknown):
        raise ValueError(f"`gene_pool` lacks {unknown[0]!r}, whose level is therefore unknown.")
    of_set = levels.index.isin(genes)
    for level in np.unique(levels[of_set]):
        alike = (levels == level).to_numpy()
        found = levels.index[alike if ctrl_as_ref else alike & ~of_set]
        if size < len(found):
            found = found.to_series().sample(size, random_state=draws).index
        yield found.difference(genes) if ctrl_as_ref else found


def nan_means(matrix: MatrixPlan, axis: int) -> np.ndarray:
    """Means of each column (0) or row (1) without its NaNs, float64."""
    found = reduce.moments(matrix, axis).mean()
    if np.isfinite(found).all():
        return found
    total, missing = (np.zeros(matrix.shape[1 - axis]) for _ in range(2))

    for start, block in blocks_of(matrix):
        indptr, indices, data = reduce.csr_arrays(block)
        place = indices
        if axis == 1:
            place = start + np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        nan = np.isnan(data)
        np.add.at(total, place[~nan], data[~nan])
        np.add.at(missing, place[nan], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / (matrix.shape[axis] - missing)
