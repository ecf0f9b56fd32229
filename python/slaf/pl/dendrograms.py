"""Dendrograms of groups of cells, from their mean principal components or, with up to 50
genes, from X. The results are those of scanpy's `tl.dendrogram`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from slaf.lazy.handle import LazyHandle
from slaf.pl.gathered import check_groups, flat, obs_of
from slaf.pl.group_means import grouping_columns
from slaf.pl.with_scanpy import Given, keep, scanpy
from slaf.pp.principal_components import pca


def add_dendrogram(handle: LazyHandle, groupby: str | list[str], key: bool | str | None) -> None:
    """Sets `uns[key]`, by default the usual key for the columns, if it does not exist.

    Raises
    ------
    ValueError
        A column is not categorical.
    """
    groupby = flat(groupby)
    key = key if isinstance(key, str) else f"dendrogram_{'_'.join(groupby)}"
    if key in handle.uns:
        return
    check_groups(handle, groupby)
    # A view has only categories with cells.
    obs = grouping_columns(obs_of(handle[:], groupby), groupby)
    part = AnnData(obs=obs, obsm={"X": _representation(handle)})
    scanpy.tl.dendrogram(part, groupby, use_rep="X", key_added=key)
    keep(handle, key, {**part.uns[key], "use_rep": None})


def _representation(handle: LazyHandle) -> np.ndarray | pd.DataFrame:
    if handle.n_vars <= scanpy.settings.N_PCS:
        x = handle.X.compute()
        return x.toarray() if sparse.issparse(x) else x
    if "X_pca" not in handle.obsm:
        pca(handle)
    return handle.obsm["X_pca"]


def with_dendrogram(handle: LazyHandle, given: Given, *, default: bool | None = False) -> None:
    """Computes what a plot needs for `dendrogram`, which is True or the key of a
    dendrogram."""
    wanted = given.get("dendrogram", default)
    if wanted:
        add_dendrogram(handle, given["groupby"], wanted)
