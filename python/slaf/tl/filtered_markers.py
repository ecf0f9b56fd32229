"""Removes ranked genes that differ too little between groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

from slaf.get.ranked_genes import ranked
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.pp.handles import matrix_of, own, require


def filter_rank_genes_groups(
    adata: LazyHandle,
    *,
    key: str | None = None,
    groupby: str | None = None,
    use_raw: bool | None = None,
    key_added: str = "rank_genes_groups_filtered",
    min_in_group_fraction: float = 0.25,
    min_fold_change: float = 1,
    max_out_group_fraction: float = 0.5,
    compare_abs: bool = False,
) -> None:
    """Copies `uns[key]` and replaces genes in it by NaN, unless enough cells of the group
    and few enough other cells express them, and the fold change is large: scanpy's
    `tl.filter_rank_genes_groups`. Fractions and fold changes that the result lacks are
    computed in one pass over the ranked genes.

    Parameters
    ----------
    key
        The key of uns with the result; by default "rank_genes_groups".
    groupby, use_raw
        By default those with which genes were ranked.
    key_added
        The key of uns for the copy.
    compare_abs
        Whether `min_fold_change` is compared with the absolute fold change.

    Raises
    ------
    KeyError
        There is no such result or column, or a group of the result has no cells.
    """
    require(adata)
    key = key or "rank_genes_groups"
    result = ranked(adata, key)
    params = result["params"]
    groupby = groupby or str(params["groupby"])
    use_raw = bool(params["use_raw"]) if use_raw is None else use_raw
    same = (params["groupby"], params["reference"], bool(params["use_raw"])) == (
        groupby,
        "rest",
        use_raw,
    )
    names = pd.DataFrame(result["names"])
    has_changes, has_shares = (same and key in result for key in ("logfoldchanges", "pts_rest"))
    computed = None if has_changes and has_shares else _Pass(adata, names, groupby, use_raw)
    inside, outside = names.copy(), names.copy()
    change = pd.DataFrame(result["logfoldchanges"]) if has_changes else names.copy()
    for group in names.columns:
        genes = names[group].to_numpy()
        if has_shares:
            inside[group], outside[group] = (
                result[table][group].reindex(genes).to_numpy() for table in ("pts", "pts_rest")
            )
        else:
            inside[group], outside[group] = computed.shares(group, genes)
        if not has_changes:
            change[group] = computed.changes(group, genes)
    if compare_abs:
        change = change.abs()
    kept = names[
        (inside > min_in_group_fraction)
        & (outside < max_out_group_fraction)
        & (change > min_fold_change)
    ]
    own(adata)
    adata.uns[key_added] = {**result, "names": kept.to_records(index=False)}


class _Pass:
    """Fractions of cells and means of the ranked genes, in each group and in all other
    cells."""

    def __init__(self, adata: LazyHandle, names: pd.DataFrame, groupby: str, use_raw: bool):
        self.genes = pd.Index(pd.unique(names.to_numpy().ravel())).dropna()
        self.groups = list(names.columns)
        labels = adata.obs[groupby].astype(object)
        codes = pd.Categorical(labels.where(labels.isna(), labels.astype(str)), self.groups).codes
        sizes = np.bincount(codes + 1, minlength=len(self.groups) + 1)
        for group, size in zip(self.groups, sizes[1:], strict=True):
            if not size:
                raise KeyError(f"No cell is of the ranked group {group!r} in obs[{groupby!r}].")
        base = dict(adata.uns.get("log1p") or {}).get("base")
        self.scale = 1.0 if base is None else np.log(base)
        # Cells without a group count as other cells of every group.
        groups = np.where(codes < 0, len(self.groups), codes).astype(np.int32)
        matrix = matrix_of(adata, use_raw=use_raw)[:, list(self.genes)]
        found = reduce.grouped(matrix, groups, len(self.groups) + 1)
        self.nonzero, self.total = found.nonzero().astype(np.float64), found.sum()
        self.cells = np.append(sizes[1:], sizes[0]).astype(np.float64)

    def shares(self, group: str, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._both(self.nonzero, group, genes)

    def changes(self, group: str, genes: np.ndarray) -> np.ndarray:
        """log2 of the ratio of the means, after `log1p` is undone."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            inside, outside = (
                np.expm1(mean * self.scale) + 1e-9 for mean in self._both(self.total, group, genes)
            )
            return np.log2(inside / outside)

    def _both(
        self, sums: np.ndarray, group: str, genes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        at, columns = self.groups.index(group), self.genes.get_indexer(genes)
        others = np.arange(len(self.cells)) != at
        with np.errstate(invalid="ignore", divide="ignore"):
            outside = sums[others][:, columns].sum(axis=0) / self.cells[others].sum()
        return sums[at, columns] / self.cells[at], outside
