"""Columns of obs or var that are read when somebody looks at them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from slaf import _axis, _metadata

if TYPE_CHECKING:
    from slaf.array import SLAFArray

#: A part of an axis smaller than this share is read by itself; of a larger one
#: the whole column is read, and kept.
_SMALL = 1 / 16


@dataclass(frozen=True)
class Place:
    """Where columns lie as they are: rows of a dataset's `cells` or `genes`."""

    array: SLAFArray
    table: str
    rows: _axis.Positions

    def read(self, names: list[str], rows: list[int]) -> pa.Table:
        """Some rows of the table, as they are stored."""
        return pa.table(self.array._dataset.read(self.table, names, np.array(rows, np.int64)))


class Columns(Protocol):
    """Named columns of equal length."""

    names: list[str]

    def __len__(self) -> int: ...

    def index(self, rows: _axis.Positions | None = None) -> pd.Index: ...

    def read(self, name: str, rows: _axis.Positions | None = None) -> pd.Series:
        """A column, or some of its rows, with a plain index. It may be shared:
        who hands it out hands out a copy."""
        ...

    def changed(self, name: str | None) -> bool:
        """Whether a column (None: the index) may be another than its dataset's."""
        ...

    def apart(self) -> Columns:
        """The same columns, which no write to what was handed out reaches."""
        ...

    def place(self) -> Place | None:
        """Where all of them lie under their names, and nothing may be another than
        there."""
        ...


class Stored:
    """The columns of a dataset's `cells` or `genes`."""

    def __init__(self, array: SLAFArray, axis: str):
        self._array, self._axis = array, axis
        self._table = "cells" if axis == "obs" else "genes"
        self.notes = {note["name"]: note for note in array._note_columns(axis)}
        #: What the format has no place for.
        extra = array._extras.get(axis)
        self._extra = pd.DataFrame() if extra is None else extra
        self.names = [*self.notes, *(n for n in self._extra if n not in self.notes)]
        self._kept: dict[str, pd.Series] = {}

    def __len__(self) -> int:
        return self._array.shape[0 if self._axis == "obs" else 1]

    def index(self, rows: _axis.Positions | None = None) -> pd.Index:
        array, names = self._array, f"_{self._axis}_names"
        if rows is not None and names not in array.__dict__ and self._few(rows):
            return array._names(self._axis, rows)
        whole = getattr(array, names)
        return whole if rows is None else _axis.take(whole, rows)

    def read(self, name: str, rows: _axis.Positions | None = None) -> pd.Series:
        if name not in self.notes:
            series = self._extra[name].reset_index(drop=True)
            return series if rows is None else _axis.take(series, rows)
        if rows is not None and name not in self._kept and self._few(rows):
            return self._decoded(name, _axis.argument(rows))
        if name not in self._kept:
            self._kept[name] = self._decoded(name, None)
        whole = self._kept[name]
        return whole if rows is None else _axis.take(whole, rows)

    def changed(self, name: str | None) -> bool:
        return False

    def apart(self) -> Stored:
        return self

    def place(self) -> Place | None:
        there = all(self.notes.get(name, {}).get("stored") == name for name in self.names)
        return Place(self._array, self._table, range(len(self))) if there else None

    def __reduce__(self) -> Any:
        return Stored, (self._array, self._axis)

    def arrow(self, name: str) -> pa.ChunkedArray | None:
        """The column as it is stored, where that says all."""
        note = self.notes.get(name)
        if note is None:
            return None
        return pa.table(self._array._dataset.read(self._table, [note["stored"]])).column(0)

    def _few(self, rows: _axis.Positions) -> bool:
        return len(rows) < _SMALL * len(self)

    def _decoded(self, name: str, rows: Any) -> pd.Series:
        note = self.notes[name]
        table = pa.table(self._array._dataset.read(self._table, [note["stored"]], rows))
        return _metadata.decode_column(table.column(0), note)


class Taken:
    """Some rows of other columns, as they were when they were taken."""

    def __init__(self, columns: Columns, rows: _axis.Positions):
        self._columns, self._rows = columns, rows
        self.names = list(columns.names)

    def __len__(self) -> int:
        return len(self._rows)

    def index(self, rows: _axis.Positions | None = None) -> pd.Index:
        return self._columns.index(self._of(rows))

    def read(self, name: str, rows: _axis.Positions | None = None) -> pd.Series:
        return _trimmed(self._columns.read(name, self._of(rows)))

    def changed(self, name: str | None) -> bool:
        return self._columns.changed(name)

    def apart(self) -> Taken:
        return Taken(self._columns.apart(), self._rows)

    def place(self) -> Place | None:
        whole = self._columns.place()
        return whole and replace(whole, rows=_axis.compose(whole.rows, self._rows))

    def _of(self, rows: _axis.Positions | None) -> _axis.Positions:
        return self._rows if rows is None else _axis.compose(self._rows, rows)


class Changed:
    """Other columns with some held (set, or handed out to who may write into
    them), renamed or left out. It is never changed itself: what was taken from it
    stays as it was."""

    def __init__(
        self, columns: Columns, names: list[str], held: dict[str, pd.Series], index: pd.Index | None
    ):
        self._columns, self.names, self.held, self._index = columns, names, held, index

    def __len__(self) -> int:
        return len(self._columns)

    def index(self, rows: _axis.Positions | None = None) -> pd.Index:
        if self._index is None:
            return self._columns.index(rows)
        return self._index if rows is None else _axis.take(self._index, rows)

    def read(self, name: str, rows: _axis.Positions | None = None) -> pd.Series:
        if name not in self.held:
            return self._columns.read(name, rows)
        series = self.held[name]
        return series if rows is None else _axis.take(series, rows)

    def arrow(self, name: str) -> pa.ChunkedArray | None:
        plain = name not in self.held and hasattr(self._columns, "arrow")
        return self._columns.arrow(name) if plain else None

    def changed(self, name: str | None) -> bool:
        own = self._index is not None if name is None else name in self.held
        return own or self._columns.changed(name)

    def apart(self) -> Changed:
        held = {name: series.copy() for name, series in self.held.items()}
        index = None if self._index is None else self._index.view()
        return Changed(self._columns.apart(), list(self.names), held, index)

    def place(self) -> Place | None:
        same = not self.held and self._index is None and self.names == self._columns.names
        return self._columns.place() if same else None

    def taken(self, rows: _axis.Positions) -> Columns:
        """Some rows. What is held is copied, but for all rows, whose copy is made
        when it is looked at."""
        if _axis.is_all(rows, len(self)):
            return Taken(self, rows)
        held = {name: _trimmed(_axis.take(s, rows).copy()) for name, s in self.held.items()}
        held = {name: series.reset_index(drop=True) for name, series in held.items()}
        index = None if self._index is None else _axis.take(self._index, rows)
        return Changed(taken(self._columns, rows), list(self.names), held, index)

    @classmethod
    def of(cls, columns: Columns) -> Changed:
        """A copy to change."""
        if isinstance(columns, Changed):
            return cls(columns._columns, list(columns.names), dict(columns.held), columns._index)
        return cls(columns, list(columns.names), {}, None)

    def having(self, name: str, values: pd.Series) -> Changed:
        changed = Changed.of(self)
        changed.held[name] = values
        if name not in changed.names:
            changed.names.append(name)
        return changed

    def without(self, name: str) -> Changed:
        changed = Changed.of(self)
        changed.held.pop(name, None)
        changed.names.remove(name)
        return changed

    def named(self, index: pd.Index) -> Changed:
        changed = Changed.of(self)
        changed._index = index
        return changed


class Framed:
    """The columns of a pandas frame."""

    def __init__(self, frame: pd.DataFrame):
        self.frame = frame
        self.names = list(frame.columns)

    def __len__(self) -> int:
        return len(self.frame)

    def index(self, rows: _axis.Positions | None = None) -> pd.Index:
        return self.frame.index if rows is None else _axis.take(self.frame.index, rows)

    def read(self, name: str, rows: _axis.Positions | None = None) -> pd.Series:
        series = self.frame[name]
        return (series if rows is None else _axis.take(series, rows)).reset_index(drop=True)

    def changed(self, name: str | None) -> bool:
        return True

    def apart(self) -> Framed:
        return Framed(self.frame.copy())

    def place(self) -> Place | None:
        return None

    def taken(self, rows: _axis.Positions) -> Columns:
        if _axis.is_all(rows, len(self)):
            return Taken(self, rows)
        return Taken(Framed(_axis.take(self.frame, rows).copy()), range(len(rows)))


def taken(columns: Columns, rows: _axis.Positions) -> Columns:
    """Some rows of `columns` as they are now."""
    own = getattr(columns, "taken", None)
    return Taken(columns, rows) if own is None else own(rows)


def _trimmed(series: pd.Series) -> pd.Series:
    # As AnnData, which drops the categories that a view has none of.
    categorical = isinstance(series.dtype, pd.CategoricalDtype)
    return series.cat.remove_unused_categories() if categorical else series


def as_names(names: Any) -> pd.Index:
    """Names of cells or genes: text, whatever they are given as.

    Raises
    ------
    ValueError
        They have several levels.
    """
    given = isinstance(names, pd.Index)
    index = names.view() if given else pd.Index(names)
    if isinstance(index, pd.MultiIndex):
        raise ValueError("Names of cells and genes are single texts, not an index of levels.")
    if index.name is not None and not isinstance(index.name, str):
        index.name = str(index.name) if given else None
    if isinstance(index.dtype, pd.CategoricalDtype):
        index = index.astype(index.categories.dtype)
    if pd.api.types.infer_dtype(index, skipna=False) != "string":
        texts = [n.decode() if isinstance(n, bytes) else n for n in index.astype(object)]
        index = pd.Index(texts, dtype=object, name=index.name).astype(str)
    return index if index.dtype == _metadata.TEXT else index.astype(_metadata.TEXT)


def as_column(value: Any, index: pd.Index, length: int) -> pd.Series:
    """`value` as pandas would store it in a frame of this index."""
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
