"""Positions on one axis, from any key that AnnData accepts between brackets.

Positions are a `range` if possible: slicing a range costs nothing, and so do views of
views. Otherwise they are an int64 array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from slaf.ground.hints import did_you_mean

Positions = range | np.ndarray

#: The columns by which a frame selects on each axis.
_ID_COLUMNS = {
    "obs": ("cell_integer_id", "cell_id"),
    "var": ("gene_integer_id", "gene_id"),
}


def split_key(key: Any) -> tuple[Any, Any]:
    """Splits a key into the keys of the two axes."""
    if not isinstance(key, tuple):
        key = (key,)
    if Ellipsis in [k for k in key if isinstance(k, type(Ellipsis))]:
        at = next(i for i, k in enumerate(key) if k is Ellipsis)
        key = key[:at] + (slice(None),) * (3 - len(key)) + key[at + 1 :]
    if len(key) > 2:
        raise IndexError("AnnData can only be sliced in rows and columns.")
    return (*key, slice(None))[:2] if len(key) == 1 else key


def positions(key: Any, length: int, names: Callable[[], pd.Index], axis: str) -> Positions:
    """Converts a key to positions on an axis of `length`. `names` is called only if the
    key contains a name. `axis` is "obs" or "var". Errors are AnnData's."""
    if isinstance(key, slice):
        return range(length)[_positional(key, names)]
    if isinstance(key, str):
        return _single(_find(names(), key, axis), length)
    if isinstance(key, (int, np.integer)) and not isinstance(key, (bool, np.bool_)):
        return _single(int(key), length)
    key = _column_of_frame(key, axis)
    array = _as_array(key)
    if array.ndim == 0:
        raise IndexError(f"Unknown indexer {key!r} of type {type(key)}")
    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    if array.ndim != 1:
        raise IndexError(f"A selection on one axis has one dimension, not {array.ndim}.")
    if array.dtype == bool:
        if len(array) != length:
            raise IndexError(
                f"Boolean index does not match AnnData’s shape along this dimension. "
                f"Boolean index has shape {array.shape} while AnnData index has shape {(length,)}."
            )
        return compact(np.flatnonzero(array))
    if array.size == 0:
        return range(0)
    if array.dtype.kind in "iu":
        return _within(array.astype(np.int64), length)
    if array.dtype.kind == "f":
        whole = array.astype(np.int64)
        if not np.array_equal(whole, array):
            raise IndexError(f"Indexer {key!r} has floating point values.")
        return _within(whole, length)
    if array.dtype.kind in "OUST":
        return _by_names(array, names(), axis)
    raise IndexError(f"Unknown indexer {key!r} of type {type(key)}")


def compact(ascending: np.ndarray) -> Positions:
    """Ascending positions, as a range if they have no gaps."""
    n = len(ascending)
    if n and ascending[-1] - ascending[0] == n - 1:
        return range(int(ascending[0]), int(ascending[0]) + n)
    return ascending


def compose(outer: Positions, inner: Positions) -> Positions:
    """Combines two selections: `inner` counts within `outer`; the result counts where
    `outer` counts."""
    if isinstance(outer, range) and isinstance(inner, range):
        if len(inner) == 0:
            return range(0)
        first, step = outer[inner[0]], outer.step * inner.step
        return range(first, first + step * len(inner), step)
    if isinstance(outer, range):
        inner = np.asarray(inner, dtype=np.int64)
        same = outer.start == 0 and outer.step == 1
        return inner if same else outer.start + outer.step * inner
    return outer[np.asarray(inner, dtype=np.int64)]


def argument(selected: Positions) -> tuple[int, int, int] | np.ndarray:
    """Positions in the form that the engine accepts."""
    if isinstance(selected, range):
        return (selected.start, selected.step, len(selected)) if selected else (0, 1, 0)
    return np.ascontiguousarray(selected, dtype=np.int64)


def is_all(selected: Positions, length: int) -> bool:
    return selected == range(length) if isinstance(selected, range) else False


def take(values: Any, selected: Positions) -> Any:
    """Rows of an array or a frame."""
    rows = values.iloc if hasattr(values, "iloc") else values
    if isinstance(selected, range):
        if is_all(selected, np.shape(values)[0]):
            return values
        if selected.step > 0:
            return rows[selected.start : selected.stop : selected.step]
        return rows[np.asarray(selected, dtype=np.int64)]
    return rows[selected]


def _positional(key: slice, names: Callable[[], pd.Index]) -> slice:
    start, stop = key.start, key.stop
    if isinstance(start, str):
        start = names().get_loc(start)
    if isinstance(stop, str):
        stop = names().get_loc(stop) + 1
    return slice(start, stop, key.step)


def _single(position: int, length: int) -> range:
    if not -length <= position < length:
        raise IndexError(f"Index {position} is out of range for an axis of length {length}.")
    position %= length
    return range(position, position + 1)


def _within(array: np.ndarray, length: int) -> np.ndarray:
    outside = (array < -length) | (array >= length)
    if outside.any():
        raise IndexError(
            f"Index {array[outside][0]} is out of range for an axis of length {length}."
        )
    return np.where(array < 0, array + length, array)


def _find(index: pd.Index, name: str, axis: str) -> int:
    try:
        found = index.get_loc(name)
    except KeyError:
        raise KeyError(_missing([name], index, axis)) from None
    if not isinstance(found, int):
        raise KeyError(f"`{name}` occurs more than once in {axis}_names.")
    return found


def _by_names(array: np.ndarray, index: pd.Index, axis: str) -> np.ndarray:
    found = index.get_indexer_for(array) if not index.is_unique else index.get_indexer(array)
    if (found < 0).any():
        missing = [str(n) for n in array if n not in index][:5]
        raise KeyError(_missing(missing, index, axis))
    return found.astype(np.int64)


def _missing(names: list[str], index: pd.Index, axis: str) -> str:
    from slaf._slaf import nearest

    near = nearest(names[0], [str(n) for n in index[:50_000]])
    return f"Values {names} are not valid {axis} names or indices.{did_you_mean(near)}"


def _column_of_frame(key: Any, axis: str) -> Any:
    """A frame or a SQL result selects by its id column."""
    columns = getattr(key, "columns", None)
    if columns is None:
        return key
    for name in _ID_COLUMNS[axis]:
        if name in list(columns):
            if hasattr(key, "__arrow_c_stream__") and not hasattr(key, "__getitem__"):
                import polars as pl

                key = pl.DataFrame(key)
            return key[name]
    wanted = " nor ".join(f"`{name}`" for name in _ID_COLUMNS[axis])
    raise KeyError(f"A frame selects {axis} by an id column, and this one has neither {wanted}.")


def _as_array(key: Any) -> np.ndarray:
    if isinstance(key, (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)):
        return _without_gaps(np.asarray(key))
    if hasattr(key, "to_numpy"):
        return _without_gaps(np.asarray(key.to_numpy()))
    if hasattr(key, "toarray"):
        return np.asarray(key.toarray())
    return _without_gaps(np.asarray(key))


def _without_gaps(key: np.ndarray) -> np.ndarray:
    """Converts a mask of objects, as `obs["x"].str.startswith("a")` returns it, to
    bools."""
    if key.dtype != object or pd.api.types.infer_dtype(key, skipna=True) != "boolean":
        return key
    missing = int(pd.isna(key).sum())
    if missing:
        raise IndexError(
            f"{missing} of the {len(key)} entries of the mask are missing. Fill them, for example "
            "with `mask.fillna(False)`."
        )
    return key.astype(bool)
