"""Dendrograms of groups of cells, by the similarity of their means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import nearest
from slaf.ground.hints import did_you_mean
from slaf.lazy import reduce
from slaf.lazy.handle import LazyHandle
from slaf.pp.graph import scanpy_for
from slaf.pp.groups import Grouping
from slaf.pp.handles import matrix_of, own, require, takes_raw
from slaf.pp.principal_components import pca


def dendrogram(
    adata: LazyHandle,
    groupby: str | Sequence[str],
    *,
    n_pcs: int | None = None,
    use_rep: str | None = None,
    var_names: Sequence[str] | None = None,
    use_raw: bool | None = None,
    cor_method: str = "pearson",
    linkage_method: str = "complete",
    optimal_ordering: bool = False,
    key_added: str | None = None,
    inplace: bool = True,
) -> dict[str, Any] | None:
    """The tree of groups of cells. The means of the groups are computed block by block;
    scanpy's `tl.dendrogram` makes the tree from them.

    Parameters
    ----------
    groupby
        One or several columns of obs with text or categories. Cells without a group and
        groups without cells are left out.
    n_pcs, use_rep
        The means are of the first `n_pcs` columns of this array of obsm, or of "X". The
        default is `X_pca`, which is computed if it is missing, or X if there are at most
        50 genes.
    var_names, use_raw
        The means are of these genes instead, from raw if there is one. (scanpy 1.12 uses
        all genes in this case.)
    cor_method, linkage_method, optimal_ordering
        As in scanpy.
    key_added
        The key of uns, by default "dendrogram_" and the names of the columns.
    inplace
        Whether the tree is stored in uns, or returned.

    Raises
    ------
    KeyError
        There is no such column, gene or array.
    ValueError
        A column has numbers, or there are fewer than two groups.
    ImportError
        scanpy is not installed.
    """
    from anndata import AnnData

    require(adata)
    scanpy = scanpy_for("tl.dendrogram")
    columns = [groupby] if isinstance(groupby, str) else list(groupby)
    groups = Grouping(_as_text(adata, columns), columns)
    if len(groups) < 2:
        raise ValueError(f"A tree needs two groups, and {' and '.join(columns)} has {len(groups)}.")
    means = _Means(adata, groups)
    if var_names is not None:
        found = means.of_genes(var_names, use_raw)
    else:
        found = means.of_array(scanpy.settings.N_PCS, use_rep, n_pcs)
    part = AnnData(obs=groups.labels.copy(), obsm={"means": found})
    tree = scanpy.tl.dendrogram(
        part,
        columns,
        use_rep="means",
        cor_method=cor_method,
        linkage_method=linkage_method,
        optimal_ordering=optimal_ordering,
        inplace=False,
    )
    tree["use_rep"] = use_rep
    if not inplace:
        return tree
    own(adata)
    adata.uns[key_added or f"dendrogram_{'_'.join(columns)}"] = tree
    return None


def _as_text(adata: LazyHandle, columns: list[str]) -> pd.DataFrame:
    """The columns, with booleans as the texts "True" and "False"."""
    frame = adata.obs[columns].copy()
    for name in columns:
        column = frame[name]
        if pd.api.types.is_bool_dtype(column.dtype):
            frame[name] = column.astype(str).where(column.notna())
        elif pd.api.types.is_numeric_dtype(column.dtype):
            raise ValueError(
                f"Groups are text or categories, and obs[{name!r}] is {column.dtype}. "
                f"`handle.obs[{name!r}].astype(str).astype('category')` is categories."
            )
    return frame


class _Means:
    """Means of groups: groups × columns."""

    def __init__(self, adata: LazyHandle, groups: Grouping):
        self.adata, self.groups = adata, groups

    def of_genes(self, names: Sequence[str], use_raw: bool | None) -> np.ndarray:
        raw = takes_raw(self.adata, use_raw)
        wanted = [names] if isinstance(names, str) else list(names)
        return self._of_matrix(matrix_of(self.adata, use_raw=raw)[:, wanted])

    def of_array(self, small: int, use_rep: str | None, n_pcs: int | None) -> np.ndarray:
        adata = self.adata
        if use_rep is None and (n_pcs == 0 or adata.n_vars <= small):
            use_rep = "X"
        if use_rep is None:
            use_rep = "X_pca"
            if use_rep not in adata.obsm:
                pca(adata, n_comps=n_pcs)
        if use_rep == "X" and use_rep not in adata.obsm:
            return self._of_matrix(matrix_of(adata))
        if use_rep not in adata.obsm:
            near = did_you_mean(nearest(use_rep, list(adata.obsm.keys())))
            raise KeyError(f"obsm has no {use_rep!r}.{near}")
        array = adata.obsm[use_rep]
        array = array.toarray() if sparse.issparse(array) else np.asarray(array)
        if n_pcs is not None and n_pcs > array.shape[1]:
            raise ValueError(f"obsm[{use_rep!r}] has {array.shape[1]} columns, and not {n_pcs}.")
        frame = pd.DataFrame(array[:, :n_pcs]).groupby(self.groups.of_row).mean()
        return frame.drop(index=-1, errors="ignore").to_numpy(np.float64)

    def _of_matrix(self, matrix: Any) -> np.ndarray:
        return reduce.grouped(matrix, self.groups.of_row, len(self.groups)).mean()
