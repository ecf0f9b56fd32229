"""Plots of the similarity of groups of cells."""

from __future__ import annotations

from typing import Any

from anndata import AnnData

from slaf.lazy.handle import LazyHandle
from slaf.pl.dendrograms import add_dendrogram
from slaf.pl.group_means import grouping_columns
from slaf.pl.plot_data import flat, obs_of
from slaf.pl.with_scanpy import Given, drawn, scanpy


@drawn(scanpy.pl.dendrogram)
def dendrogram(handle: LazyHandle, given: Given) -> Any:
    """The dendrogram of the groups, computed from their means if uns has none."""
    return _of_tree(scanpy.pl.dendrogram, handle, given, given.get("dendrogram_key"))


@drawn(scanpy.pl.correlation_matrix)
def correlation_matrix(handle: LazyHandle, given: Given) -> Any:
    """Correlations of the groups' means, computed if uns has none."""
    return _of_tree(scanpy.pl.correlation_matrix, handle, given, given.get("dendrogram"))


def _of_tree(function: Any, handle: LazyHandle, given: Given, key: Any) -> Any:
    groupby = flat(given["groupby"])
    add_dendrogram(handle, groupby, key)
    obs = grouping_columns(obs_of(handle[:], groupby), groupby)
    return function(AnnData(obs=obs, uns=dict(handle.uns)), **given)
