"""Stores a selection as a category in a column of obs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError
from slaf.explorer.colours import is_numeric


def annotate(handle: Any, name: str, value: str, selected: np.ndarray) -> None:
    """Sets `obs[name]` of the selected cells to `value`. In a new column, the other
    cells have a missing value; in an existing column of categories or text, they keep
    theirs. A view becomes an independent handle, as when its obs is set.

    Raises
    ------
    ValueError
        A name or the value is empty.
    SlafError
        Nothing is selected, or the column has numbers or bools.
    """
    name, value = name.strip(), value.strip()
    if not name or not value:
        raise ValueError("An annotation needs a column and a value, but one of them is empty.")
    if not selected.any():
        raise SlafError("Nothing is selected: select the cells to annotate.")
    column = _labels(handle, name)
    categories = list(column.categories)
    if value not in categories:
        column = column.add_categories([value])
    codes = column.codes.copy()
    codes[selected] = column.categories.get_loc(value)
    with warnings.catch_warnings():
        # No warning: the caller wants to write to the view.
        warnings.filterwarnings("ignore", "Trying to modify")
        handle.obs[name] = pd.Categorical.from_codes(codes, dtype=column.dtype)


def _labels(handle: Any, name: str) -> pd.Categorical:
    """The present values of the column."""
    if name not in handle.obs.columns:
        return pd.Categorical([None] * handle.n_obs, categories=pd.Index([], dtype=object))
    column = handle.obs[name]
    if is_numeric(column) or pd.api.types.is_bool_dtype(column.dtype):
        raise SlafError(
            f"obs[{name!r}] holds {column.dtype}, and an annotation is text. Name another column."
        )
    labels = pd.Categorical(column)
    if labels.categories.inferred_type not in ("string", "empty"):
        labels = labels.rename_categories([str(one) for one in labels.categories])
    return labels
