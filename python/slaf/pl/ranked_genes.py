"""Plots of the results of `rank_genes_groups`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from slaf import _slaf
from slaf.get.ranked_genes import check_ranked, ranked
from slaf.ground.hints import did_you_mean
from slaf.lazy.handle import LazyHandle
from slaf.pl import genes_by_group
from slaf.pl.plot_data import bare, cells, flat
from slaf.pl.with_scanpy import Given, drawn, lent, scanpy

#: Values that can be shown instead of means.
_VALUES = ("scores", "logfoldchanges", "pvals", "pvals_adj", "log10_pvals", "log10_pvals_adj")


@drawn(scanpy.pl.rank_genes_groups)
def rank_genes_groups(handle: LazyHandle, given: Given) -> Any:
    """The scores of the genes of each group. Reads no matrix."""
    ranked = _Ranked(handle, given)
    if handle.raw is not None:
        ranked.genes.raw = bare(handle.raw)
    return scanpy.pl.rank_genes_groups(ranked.genes, **{**given, "groups": ranked.groups})


@drawn(scanpy.pl.rank_genes_groups_dotplot)
def rank_genes_groups_dotplot(handle: LazyHandle, given: Given) -> Any:
    """A :func:`dotplot` of the first genes of each group. Groups without values to
    plot, such as the reference, have no dots."""
    return genes_by_group.dotplot(handle, **_Ranked(handle, given).with_values("dot_color_df"))


@drawn(scanpy.pl.rank_genes_groups_matrixplot)
def rank_genes_groups_matrixplot(handle: LazyHandle, given: Given) -> Any:
    """A :func:`matrixplot` of the first genes of each group."""
    return genes_by_group.matrixplot(handle, **_Ranked(handle, given).with_values("values_df"))


@drawn(scanpy.pl.rank_genes_groups_stacked_violin)
def rank_genes_groups_stacked_violin(handle: LazyHandle, given: Given) -> Any:
    """A :func:`stacked_violin` of the first genes of each group."""
    return genes_by_group.stacked_violin(handle, **_Ranked(handle, given).with_genes())


@drawn(scanpy.pl.rank_genes_groups_heatmap, max_cells=genes_by_group.MAX_CELLS)
def rank_genes_groups_heatmap(handle: LazyHandle, given: Given) -> Any:
    """A :func:`heatmap` of the first genes of each group."""
    return genes_by_group.heatmap(handle, **_Ranked(handle, given).with_genes())


@drawn(scanpy.pl.rank_genes_groups_tracksplot, max_cells=genes_by_group.MAX_CELLS)
def rank_genes_groups_tracksplot(handle: LazyHandle, given: Given) -> Any:
    """A :func:`tracksplot` of the first genes of each group."""
    return genes_by_group.tracksplot(handle, **_Ranked(handle, given).with_genes())


@drawn(scanpy.pl.rank_genes_groups_violin)
def rank_genes_groups_violin(handle: LazyHandle, given: Given) -> Any:
    """Violins of the first genes of each group and of its reference. Reads these genes."""
    ranked = _Ranked(handle, given)
    use_raw = given.get("use_raw")
    names = flat(given.get("gene_names"))
    for group in ranked.groups if not names else ():
        names += ranked.result["names"][group][: given.get("n_genes", 20)].tolist()
    part = cells(
        handle,
        [ranked.groupby, *names],
        use_raw=bool(ranked.result["params"]["use_raw"]) if use_raw is None else use_raw,
        gene_symbols=given.get("gene_symbols"),
    )
    with lent(handle, part):
        return scanpy.pl.rank_genes_groups_violin(part, **{**given, "groups": ranked.groups})


class _Ranked:
    """The result to plot, and the genes to show.

    Raises
    ------
    KeyError
        There is no such result or group.
    """

    def __init__(self, handle: LazyHandle, given: Given):
        self.handle, self.given = handle, dict(given)
        self.key = self.given.pop("key", None) or "rank_genes_groups"
        self.result = ranked(handle, self.key)
        self.genes = bare(handle)
        self.groupby = str(self.result["params"]["groupby"])
        known = list(self.result["names"].dtype.names)
        self.groups = flat(self.given.pop("groups", None)) or known
        check_ranked(self.result, self.groups)

    def with_genes(self) -> Given:
        """The arguments for a plot that takes genes by name."""
        given = dict(self.given)
        n_genes, least = given.pop("n_genes", None), given.pop("min_logfoldchange", None)
        if given.get("var_names") is None:
            given["var_names"] = self._first(10 if n_genes is None else n_genes, least)
        elif n_genes is not None:
            raise ValueError("Give `var_names` or `n_genes`, not both.")
        given["groupby"] = given.get("groupby") or self.groupby
        given.setdefault("dendrogram", True)
        return given

    def _first(self, n_genes: int, least: float | None) -> dict[str, list[str]]:
        """The first genes of each group or, for a negative number, the last."""
        names = {group: self._table(group, least)["names"].dropna() for group in self.groups}
        some = {g: list(n[n_genes:] if n_genes < 0 else n[:n_genes]) for g, n in names.items()}
        some = {group: found for group, found in some.items() if found}
        if not some:
            raise ValueError(f"No gene has a log fold change above `min_logfoldchange={least}`.")
        return some

    def _table(self, group: str, least: float | None = None) -> pd.DataFrame:
        symbols = self.given.get("gene_symbols")
        table = scanpy.get.rank_genes_groups_df(
            self.genes, group, key=self.key, gene_symbols=symbols, log2fc_min=least
        )
        return table if symbols is None else table.assign(names=table[symbols])

    def with_values(self, frame: str) -> Given:
        """The same, with the frame of values and its title, if values are plotted."""
        shown = self.given.pop("values_to_plot", None)
        given = self.with_genes()
        if shown is None:
            return given
        if shown not in _VALUES:
            near = did_you_mean(_slaf.nearest(str(shown), _VALUES) or _VALUES)
            raise ValueError(f"There are no values {shown!r} to plot.{near}")
        if given["groupby"] != self.groupby:
            raise ValueError(
                f"{shown!r} are of the groups of {self.groupby!r}, not of {given['groupby']!r}."
            )
        title = shown.replace("_", " ").replace("pvals", "p-value")
        given.setdefault(
            "colorbar_title", "log fold change" if shown == "logfoldchanges" else title
        )
        return {**given, frame: self._values(shown, flat(given["var_names"]))}

    def _values(self, shown: str, names: list[str]) -> pd.DataFrame:
        """A frame of groups × genes; genes without a value in a group have 1, as in
        scanpy."""
        if len(self.result["names"]) < self.handle.n_vars:
            raise ValueError(
                f"Values are stored of {len(self.result['names']):,} of {self.handle.n_vars:,} "
                "genes. Rank without `n_genes` to store all."
            )
        known = self.result["names"].dtype.names
        tables = pd.concat([self._table(group).assign(group=group) for group in known])
        column = shown.removeprefix("log10_")
        values = tables.pivot(index="names", columns="group", values=column).fillna(1)
        if shown != column:
            values = -np.log10(values)
        # The reference is not compared with itself.
        categories = self.handle[:].obs[self.groupby].astype("category").cat.categories
        return values.loc[names].T.reindex(categories)
