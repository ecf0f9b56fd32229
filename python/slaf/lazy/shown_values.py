"""Values of uns, obsm, layers and similar sections as entries of a display; reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf.ground.cards import counted, entry
from slaf.ground.sizes import share, size
from slaf.lazy.readers import (
    AXES,
    SQUARE,
    ExtraReader,
    GraphReader,
    InMemory,
    PartReader,
    VectorReader,
)
from slaf.lazy.shown_matrices import stored
from slaf.lazy.state import HandleState

#: Levels of uns that are shown, and keys of each dictionary.
_DEEP, _KEYS = 4, 30


def value_entry(name: Any, value: Any, deep: int = 0) -> dict[str, Any]:
    """A value in memory, shortened. A dictionary has entries inside."""
    if isinstance(value, Mapping):
        keys = list(value)
        note = counted(len(keys), "key")
        if not keys or deep == _DEEP:
            return entry(name, "dict", note)
        inside = [value_entry(key, value[key], deep=deep + 1) for key in keys[:_KEYS]]
        return entry(name, "dict", note, entries=inside, more=max(0, len(keys) - _KEYS))
    return entry(name, *described(value))


def described(value: Any) -> tuple[str, str]:
    """The type of a value in memory, and a short description."""
    if sparse.issparse(value):
        stored = f"{value.nnz:,} stored ({share(value.nnz, value.shape[0] * value.shape[1])})"
        return f"{value.dtype} {value.format}", f"{_shape(value.shape)} · {stored}"
    if isinstance(value, pd.DataFrame):
        names = ", ".join(map(str, value.columns[:6]))
        return "DataFrame", f"{_shape(value.shape)} · {names}"
    if isinstance(value, np.ndarray):
        fields = value.dtype.names
        if fields is not None:
            return "record", f"{_shape(value.shape)} · {', '.join(fields[:6])}"
        shown = _listed(value) if value.ndim == 1 else _shape(value.shape)
        return str(value.dtype), shown
    if isinstance(value, (list, tuple)):
        return type(value).__name__, _listed(value)
    if isinstance(value, str):
        return "text", value[:2000]
    if isinstance(value, int) and value.bit_length() > 256:
        return "int", f"of {value.bit_length():,} bits"
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return type(value).__name__, str(value)
    # Its repr is not called, because it could do anything.
    return type(value).__name__, ""


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in shape) or "one value"


def _listed(values: Any) -> str:
    """`3 values: a, b, c`."""
    plain = (bool, int, float, str)
    shown = [
        f"{v:g}" if isinstance(v, float) else str(v)[:60] if isinstance(v, plain) else "…"
        for v in (values[:4].tolist() if isinstance(values, np.ndarray) else values[:4])
    ]
    if not shown:
        return "empty"
    listed = ", ".join(shown) + (", …" if len(values) > len(shown) else "")
    return f"{counted(len(values), 'value')}: {listed}"


# Along an axis ------------------------------------------------------------------


def array_entry(state: HandleState, section: str, key: str) -> dict[str, Any]:
    """A value of obsm, varm, obsp or varp."""
    held = state.in_memory(section, key)
    reader = state.content.arrays[section][key]
    if held is not None:
        own = isinstance(reader, InMemory) and reader.of is None
        return value_entry(key, held) | {"state": "set here" if own else "in memory"}
    while isinstance(reader, PartReader):
        reader = reader.reader
    n = state.shape[AXES[section]]
    if isinstance(reader, ExtraReader):
        kind, _ = described(reader.dataset.extras[section][key])
        return entry(key, kind, f"{n:,} rows", state="in memory")
    if isinstance(reader, VectorReader):
        dtype, width = reader.dataset.vectors(reader.table, reader.column)
        cost = n * width * np.dtype(dtype).itemsize
        return entry(key, dtype, f"{n:,} × {width:,}", cost=size(cost))
    if isinstance(reader, GraphReader):
        return _graph(state, reader, n)
    return entry(key, "", f"{n:,} × {n:,}" if section in SQUARE else f"{n:,} rows")


def _graph(state: HandleState, reader: GraphReader, n: int) -> dict[str, Any]:
    dataset = reader.dataset
    dtype = str(dataset.matrix_dtype(reader.section, reader.key))
    note, cost = f"{n:,} × {n:,}", ""
    if n == dataset.shape[AXES[reader.section]]:
        note += stored(dataset.stored_pairs(reader.section, reader.key), n * n)
        found = dataset.pair_bytes(reader.section, reader.key)
        cost = "" if found is None else size(found)
    return entry(reader.key, dtype, note, cost=cost)
