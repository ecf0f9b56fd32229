"""slafdb's module of the same name: lazy AnnData over a dataset."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd

from slaf.array import SLAFArray
from slaf.data.saving import save_one
from slaf.handle import LazyAnnData
from slaf.lazy.concat import concat
from slaf.lazy.frame import LazyObsView, LazyVarView
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.state import state_of
from slaf.lazy.views import (
    LazyCooViewBase,
    LazyDictionaryViewMixin,
    LazyLayersView,
    LazyMetadataViewMixin,
    LazyObsmView,
    LazyObspView,
    LazyUnsView,
    LazyVarmView,
    LazyVarpView,
)

__all__ = [
    "LazyAnnData",
    "LazyCooViewBase",
    "LazyDictionaryViewMixin",
    "LazyExpressionMatrix",
    "LazyLayersView",
    "LazyMetadataViewMixin",
    "LazyObsView",
    "LazyObsmView",
    "LazyObspView",
    "LazyUnsView",
    "LazyVarView",
    "LazyVarmView",
    "LazyVarpView",
    "concat",
    "ensure_h5ad_writable",
    "read_slaf",
]


def read_slaf(
    filename: str | os.PathLike[str],
    backend: str = "auto",
    *,
    version: int | None = None,
    storage_options: dict[str, str] | None = None,
    write_through: bool = False,
) -> LazyAnnData:
    """Opens the dataset `filename` as a lazy AnnData; no data is read yet. Parameters
    as for :class:`~slaf.SLAFArray`.

    With `write_through`, changes are stored in the dataset at once, as in slafdb;
    otherwise they stay in the handle until `handle.save()`.

    Raises
    ------
    FileNotFoundError
        There is nothing at this path.
    SlafError
        It is not a SLAF dataset, or its tables cannot be read.
    """
    array = SLAFArray(filename, version=version, storage_options=storage_options)
    handle = LazyAnnData(array, backend=backend)
    state_of(handle).saver = save_one if write_through else None
    return handle


def ensure_h5ad_writable(adata: Any) -> None:
    """Converts text with pandas' string dtypes in obs and var, including categories and
    the index, to objects, which every version of anndata can write. Changes `adata`."""
    for name in ("obs", "var"):
        frame = getattr(adata, name, None)
        if frame is None:
            continue
        if _is_text(frame.index.dtype):
            frame.index = frame.index.astype(object)
        for column in list(frame.columns):
            series = frame[column]
            if _is_text(series.dtype):
                frame[column] = series.astype(object)
            elif isinstance(series.dtype, pd.CategoricalDtype) and _is_text(
                series.cat.categories.dtype
            ):
                frame[column] = series.cat.rename_categories(series.cat.categories.astype(object))


def _is_text(dtype: Any) -> bool:
    arrow = isinstance(dtype, pd.ArrowDtype) and dtype.type is str
    return arrow or isinstance(dtype, pd.StringDtype)
