"""Plots of genes by groups of cells."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from slaf.lazy.handle import LazyHandle
from slaf.pl.dendrograms import with_dendrogram
from slaf.pl.group_means import Grouped, check_order, grouped, grouping_columns, groups_of
from slaf.pl.plot_data import Genes, cells, check_groups, check_names, flat, genes_named
from slaf.pl.with_scanpy import Given, drawn, finish, lent, scanpy
from slaf.pp.handles import takes_raw

#: Up to this many cells, every cell is drawn.
MAX_CELLS = 200_000
#: Parameters that are not passed to scanpy again, because its values already reflect
#: them.
_DONE = ("use_raw", "layer", "gene_symbols", "log", "num_categories", "mean_only_expressed")


@drawn(scanpy.pl.dotplot)
def dotplot(handle: LazyHandle, given: Given) -> Any:
    """A dot plot. The genes are read and summed by group, without a table of cells ×
    genes. Groups without cells are left out."""
    return _of_means(scanpy.pl.dotplot, handle, given, _dots)


@drawn(scanpy.pl.matrixplot)
def matrixplot(handle: LazyHandle, given: Given) -> Any:
    """A matrix plot. The genes are read and summed by group, without a table of cells ×
    genes. Groups without cells are left out."""
    return _of_means(scanpy.pl.matrixplot, handle, given, lambda plot, found: None)


def _dots(plot: Any, found: Grouped) -> None:
    sizes = plot.dot_size_df
    plot.dot_size_df = found.shares.loc[list(sizes.index), sizes.columns]


def _of_means(function: Any, handle: LazyHandle, given: Given, then: Any) -> Any:
    """Calls `function` on an AnnData with one row of means per group; `then` adds
    values that are not means."""
    with_dendrogram(handle, given)
    found = grouped(handle, given)
    left = {k: v for k, v in given.items() if k not in _DONE}
    plot = function(found.means, **{**left, "return_fig": True, "show": None, "save": None})
    then(plot, found)
    # `add_totals` counts these.
    plot.obs_tidy = pd.DataFrame(index=found.of_cells)
    if given.get("return_fig"):
        return plot
    plot.make_figure()
    shown = finish(plot.DEFAULT_SAVE_PREFIX, given)
    return None if shown else plot.get_axes()


@drawn(scanpy.pl.stacked_violin)
def stacked_violin(handle: LazyHandle, given: Given) -> Any:
    """Stacked violins. Reads the genes; groups without cells are left out."""
    return _of_cells(scanpy.pl.stacked_violin, handle, given)


@drawn(scanpy.pl.heatmap, max_cells=MAX_CELLS)
def heatmap(handle: LazyHandle, given: Given) -> Any:
    """A heatmap with one row per cell. Reads the genes. With more cells than
    `max_cells`, that many are drawn, evenly from each group, with a warning; None draws
    all."""
    return _of_cells(scanpy.pl.heatmap, handle, given)


@drawn(scanpy.pl.tracksplot, max_cells=MAX_CELLS)
def tracksplot(handle: LazyHandle, given: Given) -> Any:
    """Tracks with one bar per cell. Reads the genes. With more cells than `max_cells`,
    that many are drawn, evenly from each group, with a warning; None draws all."""
    return _of_cells(scanpy.pl.tracksplot, handle, given)


def _of_cells(function: Any, handle: LazyHandle, given: Given) -> Any:
    given = dict(given)
    groupby = flat(given.get("groupby"))
    check_groups(handle, groupby)
    with_dendrogram(handle, given)
    part = _values(_some(handle, groupby, given.pop("max_cells", None)), groupby, given)
    with lent(handle, part):
        return function(part, **given)


def _some(handle: LazyHandle, groupby: list[str], most: int | None) -> LazyHandle:
    """The cells of groups; if there are too many, every k-th cell of each group. Groups
    without cells are left out."""
    chosen = np.arange(handle.n_obs)
    columns = [name for name in groupby if name in handle.obs.columns]
    if columns:
        chosen = chosen[handle.obs[columns].notna().all(axis=1).to_numpy()]
    if most is not None and len(chosen) > most:
        warnings.warn(
            f"{most:,} of {len(chosen):,} cells are drawn, evenly from each group. "
            "`max_cells=None` draws all.",
            UserWarning,
            stacklevel=5,
        )
        if columns:
            kind = handle.obs[columns].iloc[chosen].groupby(columns, observed=True)
            chosen = chosen[np.argsort(kind.ngroup().to_numpy(), kind="stable")]
        chosen = np.sort(chosen[np.linspace(0, len(chosen) - 1, most).astype(np.int64)])
    return handle[chosen] if len(chosen) < handle.n_obs else handle[:]


def _values(handle: LazyHandle, groupby: list[str], given: Given) -> AnnData:
    names, use_raw, layer = genes_named(given), given.get("use_raw"), given.get("layer")
    symbols = given.get("gene_symbols")
    # These plots look up genes only by symbol, and only where the values are.
    genes = Genes(handle, takes_raw(handle, use_raw, layer), symbols, alone=True)
    check_names(names, handle.obs, genes)
    part = cells(handle, [*groupby, *names], use_raw=use_raw, layers=(layer,), gene_symbols=symbols)
    part.obs = grouping_columns(part.obs, groupby)
    if given.get("categories_order") is not None:
        groups = groups_of(part.obs, groupby, given.get("num_categories", 7))
        check_order(given, groups.categories)
    return part


@drawn(scanpy.pl.violin)
def violin(handle: LazyHandle, given: Given) -> Any:
    """Violins of genes and columns of obs. Reads only these."""
    groupby = flat(given.get("groupby"))
    if groupby:
        check_groups(handle, groupby)
    names = [*groupby, *flat(given["keys"])]
    part = cells(handle, names, use_raw=given.get("use_raw"), layers=(given.get("layer"),))
    part.obs = grouping_columns(part.obs, groupby)
    with lent(handle, part):
        return scanpy.pl.violin(part, **given)
