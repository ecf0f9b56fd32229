"""The unsaved changes of a handle that can be found without reading, for its display.
`save()` compares everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError
from slaf.ground import metadata
from slaf.lazy.readers import AXES, InMemory
from slaf.lazy.state import HandleState
from slaf.lazy.stored_content import stored_uns

#: The size up to which arrays are compared, and the rows for which an export is tried.
_COMPARED, _TRIED = 10_000, 64


def unsaved(state: HandleState) -> dict[str, list[str]]:
    """Section → names of its new, changed and deleted entries."""
    if state.dataset is None or state.is_view:
        return {}
    found = {axis: list(_columns(state, axis)) for axis in ("obs", "var")}
    found |= {section: list(_arrays(state, section)) for section in AXES}
    found["layers"] = list(_layers(state))
    found["uns"] = list(_uns(state))
    content = state.content
    if content.x is not content.settled_x:
        found["X"] = ["X"]
    return {section: names for section, names in found.items() if names}


def _columns(state: HandleState, axis: str) -> Iterator[str]:
    columns = state.columns(axis)
    stored = [note["name"] for note in state.dataset.column_notes(axis)]
    extra = state.dataset.extras.get(axis)
    stored += [] if extra is None else list(extra)
    for name in columns.names:
        if name not in stored or columns.known(name).changed:
            yield str(name)
    yield from (f"{name} (deleted)" for name in stored if name not in columns.names)


def _arrays(state: HandleState, section: str) -> Iterator[str]:
    dataset, readers = state.dataset, state.content.arrays[section]
    for key, reader in readers.items():
        if isinstance(reader, InMemory) and reader.of is None:
            yield key
    yield from (f"{key} (deleted)" for key in _stored_keys(dataset, section) if key not in readers)


def _layers(state: HandleState) -> Iterator[str]:
    content = state.content
    yield from (k for k, m in content.layers.items() if content.settled.get(k) is not m)
    yield from (
        f"{k} (deleted)" for k in _stored_keys(state.dataset, "layers") if k not in content.layers
    )


def _stored_keys(dataset: Any, section: str) -> list[str]:
    beside = list(dataset.extras.get(section, {}))
    if section in ("obsm", "varm"):
        noted = dataset.notes.get(section)
        table = "cells" if section == "obsm" else "genes"
        return [*(dataset.vector_columns(table) if noted is None else noted), *beside]
    return [*dataset.keys(section), *beside]


def _uns(state: HandleState) -> Iterator[str]:
    if callable(state.content.lazy_uns):
        return
    found, stored = state.content.lazy_uns, stored_uns(state.dataset)
    for key, value in found.items():
        if key not in stored or not _alike(value, stored[key]):
            yield str(key)
    yield from (f"{key} (deleted)" for key in stored if key not in found)


def _alike(a: Any, b: Any) -> bool:
    """Whether two values are equal. For large arrays, only shapes and fields are compared."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape or a.dtype.names != b.dtype.names or a.size > _COMPARED:
            return a.shape == b.shape and a.dtype.names == b.dtype.names
        if a.dtype.names is not None:
            return all(_alike(a[name], b[name]) for name in a.dtype.names)
        return [*map(str, a.ravel())] == [*map(str, b.ravel())]
    if hasattr(a, "shape") and hasattr(b, "shape"):
        return a.shape == b.shape
    try:
        return bool(a == b) or bool(a != a and b != b)
    except Exception:
        return False


def in_another_form(state: HandleState) -> dict[str, str]:
    """Name → how an export changes the form of the value, or "cannot be stored". Values
    that come from the dataset can be stored as they are."""
    notices: dict[str, str] = {}
    if state.is_view:
        return notices
    for axis in ("obs", "var"):
        columns = state.columns(axis)
        for name in columns.names:
            known = columns.known(name)
            if known.held and known.series.dtype == object:
                part = pd.DataFrame({name: known.series.iloc[:_TRIED]})
                _try(lambda part=part, axis=axis: metadata.h5_frame(part, axis, notices), notices)
    raw = state.content.raw
    if isinstance(raw, HandleState):
        notices |= {f"raw.{where}": how for where, how in in_another_form(raw).items()}
    if callable(state.content.lazy_uns):
        return notices
    stored = {} if state.dataset is None else stored_uns(state.dataset)
    for key, value in state.content.lazy_uns.items():
        if key not in stored and _is_small(value):
            _try(lambda one={"uns": {key: value}}: metadata.h5_forms(one, notices), notices)
    return notices


def _is_small(value: Any) -> bool:
    size = getattr(value, "size", 0)
    return not isinstance(size, int) or size <= _COMPARED


def _try(form: Any, notices: dict[str, str]) -> None:
    try:
        form()
    except SlafError as error:
        notices[str(error).split("`")[1]] = "cannot be stored"
