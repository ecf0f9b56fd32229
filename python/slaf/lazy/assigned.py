"""Names and columns that the user assigns, as pandas would store them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from slaf.ground import metadata

#: dtypes that need no conversion.
_PLAIN = tuple(map(np.dtype, ("bool", "int32", "int64", "float32", "float64")))


def as_names(names: Any) -> pd.Index:
    """Names of cells or genes, converted to text.

    Raises
    ------
    ValueError
        They are a MultiIndex.
    """
    given = isinstance(names, pd.Index)
    index = names.view() if given else pd.Index(names)
    if isinstance(index, pd.MultiIndex):
        raise ValueError("Names of cells and genes are texts, not a MultiIndex.")
    if index.name is not None and not isinstance(index.name, str):
        index.name = str(index.name) if given else None
    if isinstance(index.dtype, pd.CategoricalDtype):
        index = index.astype(index.categories.dtype)
    if pd.api.types.infer_dtype(index, skipna=False) != "string":
        texts = [n.decode() if isinstance(n, bytes) else n for n in index.astype(object)]
        index = pd.Index(texts, dtype=object, name=index.name).astype(str)
    return index if index.dtype == metadata.TEXT else index.astype(metadata.TEXT)


def as_column(value: Any, index: pd.Index, length: int) -> pd.Series:
    """`value` as pandas would store it in a frame with this index."""
    if isinstance(value, np.ndarray) and value.shape == (length,) and value.dtype in _PLAIN:
        return pd.Series(value, copy=True)
    one = pd.DataFrame(
        index=index if isinstance(value, (pd.Series, pd.DataFrame)) else range(length)
    )
    one["value"] = value
    series = one["value"]
    if series.dtype == np.float16:
        series = series.astype(np.float32)
    elif isinstance(series.dtype, np.dtype) and not series.dtype.isnative:
        series = series.astype(series.dtype.newbyteorder("="))
    return series.reset_index(drop=True)
