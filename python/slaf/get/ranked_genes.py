"""The result of `tl.rank_genes_groups` as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from slaf import _slaf
from slaf.ground.hints import did_you_mean
from slaf.lazy.handle import LazyHandle
from slaf.pp.graph import scanpy_for
from slaf.pp.handles import require


def rank_genes_groups_df(
    adata: LazyHandle,
    group: str | Iterable[str] | None,
    *,
    key: str = "rank_genes_groups",
    pval_cutoff: float | None = None,
    log2fc_min: float | None = None,
    log2fc_max: float | None = None,
    gene_symbols: str | None = None,
) -> pd.DataFrame:
    """The result of `tl.rank_genes_groups` as a table, the same as that of scanpy's
    `get.rank_genes_groups_df`. No matrix is read.

    Raises
    ------
    KeyError
        uns has no such result, the result has no such group, or var has no such column.
    ImportError
        scanpy is not installed.
    """
    from anndata import AnnData

    require(adata)
    scanpy = scanpy_for("get.rank_genes_groups_df")
    result = ranked(adata, key)
    groups = [group] if isinstance(group, str) else None if group is None else list(group)
    check_ranked(result, groups or ())
    columns = [] if gene_symbols is None else [gene_symbols]
    var = adata.var[columns] if columns else pd.DataFrame(index=adata.var_names)
    return scanpy.get.rank_genes_groups_df(
        AnnData(var=var, uns={key: result}),
        groups,
        key=key,
        pval_cutoff=pval_cutoff,
        log2fc_min=log2fc_min,
        log2fc_max=log2fc_max,
        gene_symbols=gene_symbols,
    )


def ranked(adata: LazyHandle, key: str) -> Any:
    """The result of `tl.rank_genes_groups` in `uns[key]`.

    Raises
    ------
    KeyError
        There is none.
    """
    if key not in adata.uns:
        near = did_you_mean(_slaf.nearest(key, list(adata.uns.keys())))
        raise KeyError(f"uns has no {key!r}; `slaf.scanpy.tl.rank_genes_groups` sets it.{near}")
    return adata.uns[key]


def check_ranked(result: Any, groups: Sequence[str]) -> None:
    """Raises
    ------
    KeyError
        The result of `tl.rank_genes_groups` lacks one of `groups`.
    """
    known = list(result["names"].dtype.names)
    for group in groups:
        if group not in known:
            near = did_you_mean(_slaf.nearest(str(group), known) or known[:4])
            raise KeyError(f"No genes are ranked for the group {group!r}.{near}")
