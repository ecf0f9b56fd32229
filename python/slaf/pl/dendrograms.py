"""Dendrograms of groups of cells, which determine the order in plots."""

from __future__ import annotations

from slaf.lazy.handle import LazyHandle
from slaf.pl.plot_data import check_groups, flat
from slaf.pl.with_scanpy import Given, keep
from slaf.tl.dendrograms import dendrogram


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
    keep(handle, key, dendrogram(handle, groupby, inplace=False))


def with_dendrogram(handle: LazyHandle, given: Given, *, default: bool | None = False) -> None:
    """Computes what a plot needs for `dendrogram`, which is True or the key of a
    dendrogram."""
    wanted = given.get("dendrogram", default)
    if wanted:
        add_dendrogram(handle, given["groupby"], wanted)
