"""Finds how a handle differs from its dataset. It compares only what was set, and what the
user received and may have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.ground import metadata
from slaf.lazy.assigned import as_names
from slaf.lazy.columns import Stored
from slaf.lazy.frame import snapshot
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import AXES, InMemory
from slaf.lazy.sources import StoredX
from slaf.lazy.state import HandleState
from slaf.lazy.stored_content import arrays_of, uns_of


@dataclass
class Change:
    """The changes of a section: the names to store and to delete. For obs and var, also
    whether the rows were renamed, or the columns are in a different order."""

    put: list[Any] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    renamed: bool = False
    moved: bool = False

    def __bool__(self) -> bool:
        return bool(self.put or self.gone or self.renamed or self.moved)

    def __or__(self, other: Change) -> Change:
        put, gone = dict.fromkeys(self.put + other.put), dict.fromkeys(self.gone + other.gone)
        renamed, moved = self.renamed or other.renamed, self.moved or other.moved
        return Change([*put], [*gone], renamed, moved)

    def only(self, names: Iterable[str]) -> Change:
        chosen = set(names)
        return Change([n for n in self.put if n in chosen], [n for n in self.gone if n in chosen])


def of_section(state: HandleState, section: str) -> Change:
    """The changes in `section`."""
    if section in ("obs", "var"):
        return _of_frame(state, section)
    if section == "layers":
        content, there = state.content, [*_keys_of_layers(state)]
        settled = content.settled
        put = [k for k, m in content.layers.items() if k not in there or settled.get(k) is not m]
        return Change(put, [key for key in there if key not in content.layers])
    return _of_uns(state) if section == "uns" else _of_arrays(state, section)


def _keys_of_layers(state: HandleState) -> list[str]:
    dataset = state.dataset
    return [*dataset.keys("layers"), *dataset.extras.get("layers", {})]


def _of_frame(state: HandleState, axis: str) -> Change:
    dataset, frame = state.dataset, state.frame(axis)
    what, height = ("cells", "genes")[axis == "var"], dataset.shape[axis == "var"]
    if len(frame) != height:
        raise SlafError(
            f"`{axis}` has {len(frame)} rows, and the dataset {height} {what}. Take rows of the "
            f"handle, such as `handle[mask]`, rather than of its `{axis}`."
        )
    columns, stored = snapshot(frame), Stored(dataset, axis)
    texts = metadata.text_names(columns.names, axis, {})
    put = [
        name
        for name, text in zip(columns.names, texts, strict=True)
        if text not in stored.names
        or (columns.changed(name) and not same(columns.read(name), stored.read(text)))
    ]
    kept = [name for name in stored.names if name in texts]
    new = [name for name in texts if name not in stored.names]
    return Change(
        put,
        [name for name in stored.names if name not in texts],
        renamed=columns.changed(None) and not _same_index(as_names(frame.index), stored.index()),
        moved=kept + new != texts,
    )


def _of_arrays(state: HandleState, section: str) -> Change:
    there, found = arrays_of(state.dataset)[section], state.content.arrays[section]
    n = state.shape[AXES[section]]
    rows = range(n)
    for key, reader in found.items():
        if isinstance(reader, InMemory) and reader.value.shape[0] != n:
            raise SlafError(
                f"`{section}/{key}` has {reader.value.shape[0]} rows, and the dataset {n} "
                f"{('cells', 'genes')[AXES[section]]}. Set it again, with one row for each."
            )
    put = [
        key
        for key, reader in found.items()
        if key not in there
        or (isinstance(reader, InMemory) and not same(reader.value, there[key](rows)))
    ]
    return Change(put, [key for key in there if key not in found])


def _of_uns(state: HandleState) -> Change:
    if callable(state.content.lazy_uns):
        return Change()
    there = uns_of(state.dataset)
    found = metadata.h5_forms({"uns": state.content.uns}, {})["uns"]
    change = Change(
        [k for k, value in found.items() if k not in there or not same(value, there[k])],
        [key for key in there if key not in found],
    )
    if tells_of_another_x(state):
        change.put, change.gone = (
            [key for key in keys if key != LOG] for keys in (change.put, change.gone)
        )
    return change


#: The key of uns that describes X.
LOG = "log1p"


def tells_of_another_x(state: HandleState) -> bool:
    """Whether `uns["log1p"]` describes a different X than the dataset's."""
    if x_otherwise(state) is not None:
        return True
    logged = any(s.of == LOG for m in state.content.layers.values() for s in m.steps)
    return logged and LOG not in uns_of(state.dataset)


def x_otherwise(state: HandleState) -> str | None:
    """How X of the handle differs from the dataset's; None if it does not."""
    content = state.content
    x, settled = content.x, content.settled_x
    if x is settled:
        return None
    if x is None:
        return "was taken away"
    source = x.source
    if not (isinstance(source, StoredX) and source.dataset.engine.uri == state.dataset.engine.uri):
        return "was set"
    if x.steps:
        done = dict.fromkeys(step.of or f"`{step.name}`" for step in x.steps)
        return f"is the dataset's after {' and '.join(done)}"
    return None if x.is_whole else "was set"


def same_matrix(a: MatrixPlan | None, b: MatrixPlan | None) -> bool:
    """Whether two matrices of a handle have the same values."""
    if a is None or b is None:
        return a is b
    alike = a.source is b.source and a.steps is b.steps
    return alike and all(
        np.array_equal(np.asarray(a.in_source(axis)), np.asarray(b.in_source(axis)))
        for axis in (0, 1)
    )


def raw_changed(state: HandleState) -> bool:
    content, dataset = state.content, state.dataset
    raw: Any = content.raw
    noted = dataset.notes.get("raw")
    if callable(raw):
        return False
    if raw is None or noted is None:
        return raw is not noted
    stored = dataset.engine.nested(noted, dataset.notes.get("raw_version"))
    if raw.dataset is None or raw.dataset.engine.uri != stored.uri or not raw.is_whole:
        return True
    sections = ("obs", "var", *AXES, "layers", "uns")
    return x_otherwise(raw) is not None or any(of_section(raw, name) for name in sections)


def same(a: Any, b: Any) -> bool:
    """Whether two values are stored in the same way; False if they cannot be compared."""
    try:
        return bool(_same(a, b))
    except Exception:
        return False


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, pd.DataFrame):
        alike = isinstance(b, pd.DataFrame) and list(a.columns) == list(b.columns)
        return alike and _same_index(a.index, b.index) and all(same(a[c], b[c]) for c in a)
    if isinstance(a, pd.Series):
        return isinstance(b, pd.Series) and _same_series(a, b)
    if sparse.issparse(a):
        return sparse.issparse(b) and a.shape == b.shape and _same_sparse(a, b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        texts = a.dtype.kind in "OUT" and b.dtype.kind in "OUT"
        if a.shape != b.shape or (a.dtype != b.dtype and not texts):
            return False
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    alike = np.asarray(a).dtype.kind == np.asarray(b).dtype.kind
    return alike and (a == b or (a != a and b != b))


def _same_series(a: pd.Series, b: pd.Series) -> bool:
    if a.dtype != b.dtype:
        return False
    if isinstance(a.dtype, pd.CategoricalDtype):
        # Categories in another order compare as the same dtype.
        ordered = list(a.cat.categories) == list(b.cat.categories)
        return ordered and np.array_equal(a.cat.codes, b.cat.codes)
    if a.dtype == object:
        a, b = (series.where(series.notna(), np.nan) for series in (a, b))
    return a.reset_index(drop=True).equals(b.reset_index(drop=True))


def _same_index(a: pd.Index, b: pd.Index) -> bool:
    return a.name == b.name and (a.is_(b) or a.equals(b))


def _same_sparse(a: Any, b: Any) -> bool:
    if a.dtype != b.dtype:
        return False
    parts = []
    for matrix in (a, b):
        matrix = sparse.csr_matrix(matrix).copy()
        matrix.sum_duplicates()
        parts.append((matrix.indptr, matrix.indices, matrix.data))
    return all(
        np.array_equal(x, y, equal_nan=x.dtype.kind in "fc") for x, y in zip(*parts, strict=True)
    )
