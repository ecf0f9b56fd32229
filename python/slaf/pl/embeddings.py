"""Plots of embeddings of cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from slaf.ground.progress import job
from slaf.lazy.handle import LazyHandle
from slaf.pl.plot_data import cells, embedding_key, flat
from slaf.pl.shading import is_shaded, shade_points
from slaf.pl.with_scanpy import Given, drawn, finish, lent, scanpy


@drawn(scanpy.pl.embedding, shade=None)
def embedding(handle: LazyHandle, given: Given) -> Any:
    """Cells in an embedding. Reads the embedding, and what `color` names. With `shade`,
    which is the default for more than 500,000 cells, datashader draws the points as a
    picture; for numbers, a pixel shows the greatest value or, with `sort_order=False`,
    the mean."""
    return _embedding(scanpy.pl.embedding, given["basis"], handle, given)


@drawn(scanpy.pl.umap, shade=None)
def umap(handle: LazyHandle, given: Given) -> Any:
    """Cells in their UMAP. Reads the UMAP, and what `color` names. `shade` as for
    :func:`embedding`."""
    return _embedding(scanpy.pl.umap, "umap", handle, given)


@drawn(scanpy.pl.tsne, shade=None)
def tsne(handle: LazyHandle, given: Given) -> Any:
    """Cells in their t-SNE. Reads the t-SNE, and what `color` names. `shade` as for
    :func:`embedding`."""
    return _embedding(scanpy.pl.tsne, "tsne", handle, given)


@drawn(scanpy.pl.diffmap, shade=None)
def diffmap(handle: LazyHandle, given: Given) -> Any:
    """Cells in their diffusion map. Reads the map, and what `color` names. `shade` as
    for :func:`embedding`."""
    return _embedding(scanpy.pl.diffmap, "diffmap", handle, given)


@drawn(scanpy.pl.pca, shade=None)
def pca(handle: LazyHandle, given: Given) -> Any:
    """Cells in their principal components. Reads these, and what `color` names. `shade`
    as for :func:`embedding`."""
    return _embedding(scanpy.pl.pca, "pca", handle, given)


@drawn(scanpy.pl.draw_graph, shade=None)
def draw_graph(handle: LazyHandle, given: Given) -> Any:
    """Cells in a graph layout. Reads the layout, and what `color` names. `shade` as for
    :func:`embedding`."""
    layout = given.get("layout") or handle.uns["draw_graph"]["params"]["layout"]
    return _embedding(scanpy.pl.draw_graph, f"draw_graph_{layout}", handle, given)


def _embedding(function: Any, basis: str, handle: LazyHandle, given: Given) -> Any:
    given = dict(given)
    shade = is_shaded(given.pop("shade"), handle.n_obs)
    if shade and (given.get("projection") == "3d" or given.get("add_outline")):
        raise ValueError("Plots in 3d or with outlines are not shaded: `shade=False` draws points.")
    part = cells(
        handle,
        _named(given),
        use_raw=given.get("use_raw"),
        layers=(given.get("layer"),),
        gene_symbols=given.get("gene_symbols"),
        obsm=_arrays(handle, basis, given),
    )
    if given.get("edges"):
        _add_graph(handle, part, given.get("neighbors_key") or "neighbors")
    with lent(handle, part):
        if not shade:
            return function(part, **given)
        plain = {**given, "show": False, "save": False, "return_fig": None}
        axes = function(part, **plain)
    with job("shading points"):
        for ax in np.ravel(axes):
            shade_points(ax, handle.n_obs, topmost=given.get("sort_order", True))
    if given.get("return_fig"):
        return np.ravel(axes)[0].figure
    return None if finish(basis, given) else axes


def _named(given: Given) -> list[str]:
    """The names to look up in obs or among the genes."""
    names = [name for name in flat(given.get("color")) if name is not None]
    return [*names, given["mask_obs"]] if isinstance(given.get("mask_obs"), str) else names


def _arrays(handle: LazyHandle, basis: str, given: Given) -> list[str]:
    """The keys of obsm to look for."""
    arrows = (f"velocity_{basis}", f"Delta_{basis}") if given.get("arrows") else ()
    found = embedding_key(handle, basis, f"X_{basis}")
    return [found, *(key for key in arrows if key in handle.obsm)]


def _add_graph(handle: LazyHandle, part: Any, key: str) -> None:
    """Adds the neighbours between which edges are drawn."""
    entry = handle.uns.get(key, {})
    for what in ("connectivities", "distances"):
        name = entry.get(f"{what}_key", what)
        if name in handle.obsp:
            part.obsp[name] = handle.obsp[name]
