"""Columns of obs or var that are read when somebody looks at them."""

from __future__ import annotations

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


class Columns(Protocol):
    """Named columns of equal length."""

    names: list[str]

    def __len__(self) -> int: ...

    def index(self, rows: _axis.Positions | None = None) -> pd.Index: ...

    def read(self, name: str, rows: _axis.Positions | None = None) -> pd.Series:
        """A column, or some of its rows, with a plain index."""
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
        series = self._columns.read(name, self._of(rows))
        if isinstance(series.dtype, pd.CategoricalDtype):
            # As AnnData, which drops the categories that a view has none of.
            return series.cat.remove_unused_categories()
        return series

    def _of(self, rows: _axis.Positions | None) -> _axis.Positions:
        return self._rows if rows is None else _axis.compose(self._rows, rows)


class Changed:
    """Other columns with some set, renamed or left out. It is never changed
    itself: what was taken from it stays as it was."""

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


def as_column(value: Any, index: pd.Index, length: int) -> pd.Series:
    """`value` as pandas would store it in a frame of this index."""
    one = pd.DataFrame(
        index=index if isinstance(value, (pd.Series, pd.DataFrame)) else range(length)
    )
    one["value"] = value
    series = one["value"]
    if series.dtype == np.float16:
        series = series.astype(np.float32)
    return series.reset_index(drop=True)
