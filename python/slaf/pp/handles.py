"""Steps that all functions take with a handle before and after their work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from warnings import warn

import numpy as np
import pandas as pd

from slaf.lazy.handle import LazyHandle
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.plan import MatrixPlan, plan_of
from slaf.lazy.state import state_of


def matrix_of(adata: LazyHandle, layer: str | None = None, *, use_raw: bool = False) -> MatrixPlan:
    """X, a layer, or X of raw.

    Raises
    ------
    TypeError
        `adata` is not a lazy handle.
    KeyError
        The matrix does not exist.
    ValueError
        `use_raw` is True, and there is no raw.
    """
    require(adata)
    if use_raw:
        raw = state_of(adata).raw
        if raw is None:
            raise ValueError("Received `use_raw=True`, but `adata.raw` is empty.")
        return raw.x
    if layer is not None:
        return plan_of(adata.layers[layer])
    x = state_of(adata).x
    if x is None:
        raise KeyError("The handle has no X; name a layer: `layer=...`.")
    return x


def takes_raw(handle: LazyHandle, use_raw: bool | None, layer: Any = None) -> bool:
    """Whether scanpy would take the values from raw.

    Raises
    ------
    ValueError
        `use_raw` is True, and a layer is named or there is no raw.
    """
    if use_raw is None:
        return layer is None and handle.raw is not None
    if use_raw and layer is not None:
        raise ValueError(f"Values are of raw or of a layer: `use_raw=True` excludes {layer!r}.")
    if use_raw and handle.raw is None:
        raise ValueError("The handle has no raw: leave out `use_raw=True`.")
    return bool(use_raw)


def require(adata: Any) -> None:
    if not isinstance(adata, LazyHandle):
        raise TypeError(
            f"slaf's preprocessing takes lazy handles, not {type(adata).__name__}; for AnnData "
            "objects there is scanpy."
        )


def set_matrix(adata: LazyHandle, layer: str | None, matrix: MatrixPlan) -> None:
    own(adata)
    if layer is None:
        adata.X = LazyExpressionMatrix.over(matrix)
    else:
        adata.layers[layer] = LazyExpressionMatrix.over(matrix)


def own(adata: LazyHandle) -> None:
    """Makes a view independent before it is changed, without AnnData's warning: the caller
    asked for the change."""
    state_of(adata).actualise()


def cells_of(n: int) -> str:
    return f"{n:,} cell{'' if n == 1 else 's'}"


def warn_of_skipped(what: str, reasons: Mapping[str, str]) -> None:
    """Warns the caller of a public function once that some of `what` were skipped: name →
    reason."""
    if reasons:
        listed = ", ".join(f"{name!r} ({why})" for name, why in reasons.items())
        warn(f"Skipped {what}: {listed}.", UserWarning, stacklevel=4)


def mask_of(frame: Any, mask: Any, what: str) -> np.ndarray:
    """A boolean column by its name, or a mask of the right length."""
    if isinstance(mask, str):
        if mask not in frame.columns:
            raise ValueError(f"Did not find `adata.{what}[{mask!r}]`.")
        mask = frame[mask]
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (len(frame),):
        raise ValueError(f"A mask of {what} is boolean and has {len(frame)} entries.")
    return mask


def complete(adata: LazyHandle, name: str) -> np.ndarray | pd.Categorical:
    """A column of obs as float64, or as categories if it is of text or categories.

    Raises
    ------
    KeyError
        There is none.
    ValueError
        It lacks values.
    """
    column = adata.obs[name]
    lacks = column.isna().to_numpy()
    if column.dtype.kind == "f":
        lacks = ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if lacks.any():
        raise ValueError(
            f"obs[{name!r}] has no value for {lacks.sum():,} of {len(column):,} cells. Fill them "
            f"in, or leave these cells out: `handle[handle.obs[{name!r}].notna()]`."
        )
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64)
    return pd.Categorical(column).remove_unused_categories()
