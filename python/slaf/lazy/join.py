"""Handles below each other, as `anndata.concat` joins AnnData objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from slaf import _axis
from slaf.lazy.columns import Framed
from slaf.lazy.content import Content, Reader
from slaf.lazy.frame import FRAMES
from slaf.lazy.handle import LazyAnnData
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.sources import Stacked


def concat(
    adatas: Iterable[LazyAnnData] | Mapping[str, LazyAnnData],
    *,
    join: str = "inner",
    label: str | None = None,
    keys: Iterable[str] | None = None,
    index_unique: str | None = None,
    merge: str | None = None,
    uns_merge: str | None = None,
) -> LazyAnnData:
    """Cells of several handles in one, lazily: X, layers and obsm are read from
    their datasets when asked for. Parameters and results are those of
    `anndata.concat` along obs.

    Parameters
    ----------
    adatas
        The handles; of a mapping, its keys are `keys`.
    join
        "inner" keeps the genes (and layers, columns, embeddings) of all, "outer"
        those of any; values of genes that a handle lacks are zero.
    label, keys
        The name of a new obs column, and what it says of each handle.
    index_unique
        What joins a cell's name and its handle's key, to make names unique.
    merge, uns_merge
        Which var columns, and which of uns, are kept: None, "same", "unique",
        "first" or "only".
    """
    if isinstance(adatas, Mapping):
        if keys is not None:
            raise TypeError("Give `keys`, or a mapping of handles, not both.")
        keys, adatas = list(adatas), list(adatas.values())
    handles = list(adatas)
    if not handles:
        raise ValueError("There is nothing to concatenate.")
    for handle in handles:
        if not isinstance(handle, LazyAnnData):
            raise TypeError(
                f"`slaf.concat` takes lazy handles, not {type(handle).__name__}; for AnnData "
                "objects there is `anndata.concat`."
            )
    import anndata

    # obs, var and uns go through anndata itself: its rules are many, and its
    # inputs here are without matrices.
    plain = [_bare(handle) for handle in handles]
    joined = anndata.concat(
        plain,
        join=join,
        label=label,
        keys=None if keys is None else list(keys),
        index_unique=index_unique,
        merge=merge,
        uns_merge=uns_merge,
    )
    content = Content((joined.n_obs, joined.n_vars))
    content.frames = {
        "obs": FRAMES["obs"]._of(Framed(joined.obs)),
        "var": FRAMES["var"]._of(Framed(joined.var)),
    }
    content.uns = dict(joined.uns)
    names = lambda axis: content.frames["obs" if axis == 0 else "var"].index  # noqa: E731
    columns = [_columns(handle, joined.var_names) for handle in handles]

    def stack(matrices: list[LazyExpressionMatrix]) -> LazyExpressionMatrix:
        return LazyExpressionMatrix._of(Stacked(matrices, columns), names)

    if all(handle._x is not None for handle in handles):
        content.x = stack([handle._x for handle in handles])
    for key in _common([handle.layers.keys() for handle in handles]):
        content.layers[key] = stack([h._content.layers[key]._at(*h._part) for h in handles])
    for key in _common([handle.obsm.keys() for handle in handles]):
        content.arrays["obsm"][key] = _stacked_rows(handles, key)
    return LazyAnnData._of(content)


def _bare(handle: LazyAnnData) -> Any:
    import anndata

    return anndata.AnnData(
        obs=handle.obs._whole(),
        var=handle.var._whole(),
        varm=dict(handle.varm),
        uns=dict(handle.uns),
        shape=handle.shape,
    )


def _columns(handle: LazyAnnData, wanted: pd.Index) -> np.ndarray:
    names = handle.var_names
    if not names.is_unique:
        raise ValueError(
            "Genes with the same name cannot be joined; `handle.var_names_make_unique()` first."
        )
    return names.get_indexer(wanted)


def _common(keys: list[list[str]]) -> list[str]:
    # As anndata, which takes no layer or embedding that one of them lacks
    # unless it can fill it.
    return [key for key in keys[0] if all(key in others for others in keys[1:])]


def _stacked_rows(handles: list[LazyAnnData], key: str) -> Reader:
    starts = np.cumsum([0, *(handle.n_obs for handle in handles)])

    def read(rows: _axis.Positions) -> Any:
        wanted = np.asarray(rows, dtype=np.int64)
        owner = np.searchsorted(starts, wanted, side="right") - 1
        out: np.ndarray | None = None
        for at in np.unique(owner):
            mine = owner == at
            part = np.asarray(handles[at][wanted[mine] - starts[at]].obsm[key])
            if out is None:
                out = np.empty((len(wanted), part.shape[1]), part.dtype)
            out[mine] = part
        return np.empty((0, 0)) if out is None else out

    return read
