"""Columns of obs or var, read when they are first used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from slaf.dataset import Dataset
from slaf.ground import axes, metadata

#: If a selection is smaller than this fraction of an axis, only its rows are read;
#: otherwise the whole column is read and kept.
_SMALL = 1 / 16


@dataclass(frozen=True)
class Place:
    """Where columns are stored unchanged: rows of a dataset's `cells` or `genes`."""

    dataset: Dataset
    table: str
    rows: axes.Positions

    def read(self, names: list[str], rows: list[int]) -> pa.Table:
        """Some rows of the table, with its stored types."""
        place = np.array(rows, np.int64)
        return pa.table(self.dataset.engine.read(self.table, names, place))


@dataclass(frozen=True)
class Known:
    """The properties of a column that are known without reading it."""

    dtype: str
    #: The categories as text, and the number of rows of each; None if not stored.
    categories: list[str] | None = None
    counts: list[int] | None = None
    #: The minimum, the maximum and the number of missing rows; None if not stored.
    ends: list[Any] | None = None
    #: The values, if they are in memory.
    series: pd.Series | None = None
    #: Whether the user set the column, or received it and may have changed it; and the
    #: properties of the column that it replaces.
    held: bool = False
    otherwise: Known | None = None

    @classmethod
    def of(cls, series: pd.Series, **more: Any) -> Known:
        named = isinstance(series.dtype, pd.CategoricalDtype)
        categories = [*map(str, series.dtype.categories)] if named else None
        return cls(str(series.dtype), categories, series=series, **more)

    @property
    def changed(self) -> bool:
        """Whether the column differs from the one that it replaces, as far as that can be
        found quickly."""
        if not self.held or self.otherwise is None:
            return self.held
        before = self.otherwise.series
        quick = self.series.dtype != object or len(self.series) <= _COMPARED
        return before is not None and quick and not self.series.equals(before)


#: Values of objects that are compared for a display.
_COMPARED = 100_000


class Columns(Protocol):
    """Named columns of the same length."""

    names: list[str]

    def __len__(self) -> int: ...

    def index(self, rows: axes.Positions | None = None) -> pd.Index: ...

    def read(self, name: str, rows: axes.Positions | None = None) -> pd.Series:
        """A column, or some of its rows, with a plain index. It may be shared, so a
        caller that passes it to the user passes a copy."""
        ...

    def known(self, name: str) -> Known:
        """The known properties of a column. Reads nothing."""
        ...

    def changed(self, name: str | None) -> bool:
        """Whether a column (None: the index) may differ from the dataset's."""
        ...

    def apart(self) -> Columns:
        """The same columns, independent of writes to frames that the user has received."""
        ...

    def categorical(self) -> Columns:
        """:meth:`apart` for the columns of categories only."""
        ...

    def place(self) -> Place | None:
        """The stored place of all columns; None if any is renamed or may differ."""
        ...


class Stored:
    """The columns of a dataset's `cells` or `genes`."""

    def __init__(self, dataset: Dataset, axis: str):
        self.dataset, self.axis = dataset, axis
        self.table = "cells" if axis == "obs" else "genes"
        self.notes = {note["name"]: note for note in dataset.column_notes(axis)}
        #: Columns that the tables cannot hold.
        extra = dataset.extras.get(axis)
        self._extra = pd.DataFrame() if extra is None else extra
        self.names = [*self.notes, *(n for n in self._extra if n not in self.notes)]
        self._kept: dict[str, pd.Series] = {}

    def __len__(self) -> int:
        return self.dataset.shape[0 if self.axis == "obs" else 1]

    def index(self, rows: axes.Positions | None = None) -> pd.Index:
        dataset, names = self.dataset, f"{self.axis}_names"
        if rows is not None and names not in dataset.__dict__ and self._few(rows):
            return dataset.names(self.axis, rows)
        whole = getattr(dataset, names)
        return whole if rows is None else axes.take(whole, rows)

    def read(self, name: str, rows: axes.Positions | None = None) -> pd.Series:
        if name not in self.notes:
            series = self._extra[name].reset_index(drop=True)
            return series if rows is None else axes.take(series, rows)
        if rows is not None and name not in self._kept and self._few(rows):
            return self._decoded(name, rows)
        if name not in self._kept:
            self._kept[name] = self._decoded(name, None)
        whole = self._kept[name]
        return whole if rows is None else axes.take(whole, rows)

    def known(self, name: str) -> Known:
        if name not in self.notes:
            return Known.of(self._extra[name])
        note = self.notes[name]
        if name in self._kept:
            return Known.of(self._kept[name])
        dtype = note.get("dtype") or self.dataset.columns[self.table][note["stored"]].lower()
        # Another writer knows nothing of our notes.
        ours = self.dataset.version is not None
        if dtype != "category":
            return Known(dtype, ends=note.get("ends") if ours else None)
        counts = note.get("counts") if ours else None
        return Known(dtype, list(map(str, note["categories"])), counts)

    def changed(self, name: str | None) -> bool:
        return False

    def apart(self) -> Stored:
        return self

    def categorical(self) -> Stored:
        return self

    def place(self) -> Place | None:
        there = all(self.notes.get(name, {}).get("stored") == name for name in self.names)
        return Place(self.dataset, self.table, range(len(self))) if there else None

    def __reduce__(self) -> Any:
        return Stored, (self.dataset, self.axis)

    def arrow(self, name: str) -> pa.ChunkedArray | None:
        """The column in its stored form, if that is complete."""
        note = self.notes.get(name)
        if note is None:
            return None
        return self.dataset.column(self.table, note["stored"], None)

    def _few(self, rows: axes.Positions) -> bool:
        return len(rows) < _SMALL * len(self)

    def _decoded(self, name: str, rows: axes.Positions | None) -> pd.Series:
        note = self.notes[name]
        column = self.dataset.column(self.table, note["stored"], rows)
        return metadata.decode_column(column, note)


class Taken:
    """Some rows of other columns, as they were when they were selected."""

    def __init__(self, columns: Columns, rows: axes.Positions):
        self.columns, self.rows = columns, rows
        self.names = list(columns.names)

    def __len__(self) -> int:
        return len(self.rows)

    def index(self, rows: axes.Positions | None = None) -> pd.Index:
        return self.columns.index(self.placed(rows))

    def read(self, name: str, rows: axes.Positions | None = None) -> pd.Series:
        return _trimmed(self.columns.read(name, self.placed(rows)))

    def known(self, name: str) -> Known:
        whole = self.columns.known(name)
        if axes.is_all(self.rows, len(self.columns)):
            return whole
        if whole.series is None:
            return Known(whole.dtype, whole.categories)
        series = _trimmed(axes.take(whole.series, self.rows))
        # A palette in uns is of all categories.
        return replace(Known.of(series), categories=whole.categories)

    def changed(self, name: str | None) -> bool:
        return self.columns.changed(name)

    def apart(self) -> Taken:
        return Taken(self.columns.apart(), self.rows)

    def categorical(self) -> Taken:
        return Taken(self.columns.categorical(), self.rows)

    def place(self) -> Place | None:
        whole = self.columns.place()
        return whole and replace(whole, rows=axes.compose(whole.rows, self.rows))

    def placed(self, rows: axes.Positions | None) -> axes.Positions:
        """The positions of `rows` in the other columns."""
        return self.rows if rows is None else axes.compose(self.rows, rows)


class Changed:
    """Other columns, with some replaced (set by the user, or received and perhaps
    edited), renamed or removed. It is never changed itself, so selections of it stay as
    they were."""

    def __init__(
        self, columns: Columns, names: list[str], held: dict[str, pd.Series], index: pd.Index | None
    ):
        self.columns, self.names, self.held, self.own_index = columns, names, held, index

    def __len__(self) -> int:
        return len(self.columns)

    def index(self, rows: axes.Positions | None = None) -> pd.Index:
        if self.own_index is None:
            return self.columns.index(rows)
        return self.own_index if rows is None else axes.take(self.own_index, rows)

    def read(self, name: str, rows: axes.Positions | None = None) -> pd.Series:
        if name not in self.held:
            return self.columns.read(name, rows)
        series = self.held[name]
        return series if rows is None else axes.take(series, rows)

    def arrow(self, name: str) -> pa.ChunkedArray | None:
        stored = getattr(self.columns, "arrow", None) if name not in self.held else None
        return None if stored is None else stored(name)

    def known(self, name: str) -> Known:
        otherwise = self.columns.known(name) if name in self.columns.names else None
        if name not in self.held:
            return otherwise
        return Known.of(self.held[name], held=True, otherwise=otherwise)

    def changed(self, name: str | None) -> bool:
        own = self.own_index is not None if name is None else name in self.held
        return own or self.columns.changed(name)

    def apart(self) -> Changed:
        held = {name: series.copy() for name, series in self.held.items()}
        index = None if self.own_index is None else self.own_index.view()
        return Changed(self.columns.apart(), list(self.names), held, index)

    def categorical(self) -> Changed:
        held = {n: s.copy() for n, s in self.held.items() if _is_categorical(s)}
        names = [name for name in self.names if name in held or name not in self.held]
        return Changed(self.columns.categorical(), names, held, None)

    def place(self) -> Place | None:
        same = not self.held and self.own_index is None and self.names == self.columns.names
        return self.columns.place() if same else None

    def taken(self, rows: axes.Positions) -> Columns:
        """Some rows. Replaced columns are copied, except if all rows are selected: then
        the copy is made when the column is used."""
        if axes.is_all(rows, len(self)):
            return Taken(self, rows)
        held = {name: _apart(s, rows) for name, s in self.held.items()}
        index = None if self.own_index is None else axes.take(self.own_index, rows)
        return Changed(taken(self.columns, rows), list(self.names), held, index)

    @classmethod
    def of(cls, columns: Columns) -> Changed:
        """A copy that can be changed."""
        if isinstance(columns, Changed):
            return cls(columns.columns, list(columns.names), dict(columns.held), columns.own_index)
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
        changed.own_index = index
        return changed


class Framed:
    """The columns of a pandas frame."""

    def __init__(self, frame: pd.DataFrame):
        self.frame = frame
        self.names = list(frame.columns)

    def __len__(self) -> int:
        return len(self.frame)

    def index(self, rows: axes.Positions | None = None) -> pd.Index:
        return self.frame.index if rows is None else axes.take(self.frame.index, rows)

    def read(self, name: str, rows: axes.Positions | None = None) -> pd.Series:
        series = self.frame[name]
        return (series if rows is None else axes.take(series, rows)).reset_index(drop=True)

    def known(self, name: str) -> Known:
        return Known.of(self.frame[name], held=True)

    def changed(self, name: str | None) -> bool:
        return True

    def apart(self) -> Framed:
        return Framed(self.frame.copy())

    def categorical(self) -> Framed:
        return Framed(self.frame.select_dtypes("category").copy())

    def place(self) -> Place | None:
        return None

    def taken(self, rows: axes.Positions) -> Columns:
        if axes.is_all(rows, len(self)):
            return Taken(self, rows)
        return Taken(Framed(axes.take(self.frame, rows).copy()), range(len(rows)))


def taken_over(columns: Columns) -> Columns:
    """The result of :func:`taken`, independent of writes to the frames it was taken from."""
    if isinstance(columns, Changed):
        # Its own columns are copies already.
        inner = columns.columns.apart()
        return Changed(inner, columns.names, columns.held, columns.own_index)
    return columns.apart()


def taken(columns: Columns, rows: axes.Positions) -> Columns:
    """Some rows of `columns` in their present state."""
    own = getattr(columns, "taken", None)
    return Taken(columns, rows) if own is None else own(rows)


def _apart(series: pd.Series, rows: axes.Positions) -> pd.Series:
    """A copy of some rows."""
    part = _trimmed(axes.take(series, rows))
    # numpy has already copied the rows at scattered positions.
    return pd.Series(part.array, copy=isinstance(rows, range))


def _trimmed(series: pd.Series) -> pd.Series:
    # As in AnnData, which drops categories that a view does not use.
    return series.cat.remove_unused_categories() if _is_categorical(series) else series


def _is_categorical(series: pd.Series) -> bool:
    return isinstance(series.dtype, pd.CategoricalDtype)
