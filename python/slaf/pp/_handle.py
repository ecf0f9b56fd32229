"""What every function does to its handle before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from warnings import warn

import numpy as np

from slaf.lazy.handle import LazyAnnData
from slaf.lazy.matrix import LazyExpressionMatrix


def matrix_of(
    adata: LazyAnnData, layer: str | None = None, *, use_raw: bool = False
) -> LazyExpressionMatrix:
    """X, a layer, or X of raw.

    Raises
    ------
    TypeError
        `adata` is no lazy handle.
    KeyError
        There is no such matrix.
    """
    require(adata)
    if use_raw:
        if adata.raw is None:
            raise ValueError("Received `use_raw=True`, but `adata.raw` is empty.")
        return adata.raw._x
    if layer is not None:
        return adata.layers[layer]
    if adata._x is None:
        raise KeyError("The handle has no X; name a layer: `layer=...`.")
    return adata._x


def require(adata: Any) -> None:
    if not isinstance(adata, LazyAnnData):
        raise TypeError(
            f"slaf's preprocessing takes lazy handles, not {type(adata).__name__}; for AnnData "
            "objects there is scanpy."
        )


def set_matrix(adata: LazyAnnData, layer: str | None, matrix: LazyExpressionMatrix) -> None:
    own(adata)
    if layer is None:
        adata.X = matrix
    else:
        adata.layers[layer] = matrix


def own(adata: LazyAnnData) -> None:
    """A view is about to be written to, as the caller asked for."""
    if adata.is_view:
        adata._actualise()


def cells_of(n: int) -> str:
    return f"{n:,} cell{'' if n == 1 else 's'}"


def warn_of_skipped(what: str, reasons: Mapping[str, str]) -> None:
    """One warning to the caller of a function that left out `what`, by name."""
    if reasons:
        told = ", ".join(f"{name!r} ({why})" for name, why in reasons.items())
        warn(f"Skipped {what}: {told}.", UserWarning, stacklevel=4)


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
