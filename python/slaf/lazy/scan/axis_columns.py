"""Columns of the cells or genes of a handle for Polars, read by name and by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from slaf._slaf import SlafError, nearest
from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.hints import did_you_mean
from slaf.ground.metadata import encode_column
from slaf.lazy.columns import Changed, Columns, Framed, Stored, Taken
from slaf.lazy.scan.predicate import kept, needed

#: Rows are read one by one if they are a smaller fraction than this of the range that
#: they span.
_SMALL = 1 / 16


@dataclass(frozen=True)
class OnDisk:
    """Some rows (None: all) of a column of a dataset's table."""

    dataset: Dataset
    table: str
    column: str
    rows: axes.Positions | None

    @property
    def dtype(self) -> pl.DataType:
        none = self.dataset.engine.read(self.table, [self.column], (0, 1, 0))
        return pl.Series(pa.table(none).column(0)).dtype


@dataclass(frozen=True)
class InMemory:
    """A column in memory."""

    series: pl.Series

    @property
    def dtype(self) -> pl.DataType:
        return self.series.dtype


@dataclass(frozen=True)
class Numbers:
    """Integer ids: positions in the dataset."""

    at: axes.Positions

    dtype = pl.UInt32


@dataclass(frozen=True)
class ByRows:
    """Some rows of the vectors that `read` returns."""

    read: Callable[[axes.Positions], np.ndarray]
    rows: axes.Positions
    dtype: pl.DataType


Column = OnDisk | InMemory | Numbers | ByRows


class Axis:
    """The cells (or genes) of a handle: their ids, names, and columns of obs (var), in
    their present state."""

    def __init__(self, axis: str, columns: Columns, at: axes.Positions):
        self.name = axis
        kind = "cell" if axis == "obs" else "gene"
        self.id_name, self.text_name = f"{kind}_integer_id", f"{kind}_id"
        self.length = len(at)
        self._columns, self._at = columns, at
        self._found: dict[str, Column] = {}
        labels = [str(label) for label in columns.names]
        self._twice = {label for label in labels if labels.count(label) > 1}
        ids = (self.id_name, self.text_name)
        #: The name of each column in obs. A column with the name of the ids is renamed,
        #: as in the tables of a dataset.
        self._labels = {_free(n, labels) if n in ids else n: n for n in labels}
        self.columns = [*ids, *self._labels]

    def require(self, name: str) -> str:
        """Returns `name` if exactly one column has it.

        Raises
        ------
        SlafError
            No column has this name, or several have it.
        """
        if name not in self.columns:
            near = nearest(str(name), self.columns)
            raise SlafError(f"{self.name} has no column {name!r}.{did_you_mean(near)}")
        if self._labels.get(name) in self._twice:
            raise SlafError(f"{self.name} has the column {name!r} twice. Rename one of them.")
        return name

    def only(self, names: list[str]) -> Axis:
        """This axis with only these columns. They are looked up now: columns in memory
        are copied, so later edits do not reach them."""
        one = Axis.__new__(Axis)
        one.__dict__.update(self.__dict__, columns=names, _columns=None, _labels={})
        one._found = {name: self._column(self.require(name)) for name in names}
        return one

    def having(self, columns: dict[str, Column]) -> Axis:
        """This axis with more columns; if one has the name of the ids, it is renamed."""
        more = Axis.__new__(Axis)
        more.__dict__.update(self.__dict__, _found=dict(self._found))
        taken = [*self.columns, *columns]
        for name, column in columns.items():
            more._found[_free(name, taken) if name in self._found else name] = column
        more.columns = list(more._found)
        return more

    def end(self, name: str) -> Axis:
        """Only the ids, named as the end `name` of an edge."""
        one = self.only([self.id_name])
        one.id_name = f"{self.id_name}_{name}"
        one._found = {one.id_name: one._found[self.id_name]}
        one.columns = [one.id_name]
        return one

    def schema(self) -> dict[str, Any]:
        return {name: column.dtype for name, column in self._found.items()}

    def frame(self, names: list[str], rows: axes.Positions | None = None) -> pl.DataFrame:
        """Columns of some rows; columns of the same table are read together."""
        found: dict[str, pl.Series] = {}
        stored: dict[Any, list[str]] = {}
        for name in names:
            column = self._found[name]
            if isinstance(column, OnDisk):
                place = id(column.dataset), column.table, id(column.rows)
                stored.setdefault(place, []).append(name)
            else:
                found[name] = _in_memory(column, rows)
        for together in stored.values():
            found |= self._read(together, rows)
        return pl.DataFrame([found[name].alias(name) for name in names])

    def matching(self, parts: list[pl.Expr]) -> axes.Positions:
        """The rows for which all `parts` are true; without parts, nothing is read."""
        if not parts:
            return range(self.length)
        rows = kept(self.frame(needed(parts)), parts).to_numpy().astype(np.int64)
        return axes.compact(rows) if len(rows) else range(0)

    def _read(self, names: list[str], rows: axes.Positions | None) -> dict[str, pl.Series]:
        columns = [self._found[name] for name in names]
        one = columns[0]
        at = one.rows if rows is None else rows
        if one.rows is not None and rows is not None:
            at = axes.compose(one.rows, rows)
        inside = None
        if isinstance(at, np.ndarray) and len(at):
            first, last = int(at.min()), int(at.max())
            if len(at) >= _SMALL * (last - first + 1):
                inside, at = at - first, range(first, last + 1)
        whole = at is None or axes.is_all(at, one.dataset.shape[one.table == "genes"])
        place = None if whole else axes.argument(at)
        table = pa.table(one.dataset.engine.read(one.table, [c.column for c in columns], place))
        frame = pl.DataFrame(table)
        frame = frame if inside is None else frame[inside]
        return dict(zip(names, frame.get_columns(), strict=True))

    def _column(self, name: str) -> Column:
        if name == self.id_name:
            return Numbers(self._at)
        if name == self.text_name:
            return _names(self._columns, None)
        return _column(self._columns, self._labels[name], None)


def _column(columns: Columns, name: str, rows: axes.Positions | None) -> Column:
    """The place of some rows of a column."""
    if isinstance(columns, Taken):
        return _column(columns.columns, name, columns.placed(rows))
    if isinstance(columns, Changed) and name not in columns.held:
        return _column(columns.columns, name, rows)
    if isinstance(columns, Stored) and name in columns.notes:
        return OnDisk(columns.dataset, columns.table, columns.notes[name]["stored"], rows)
    if isinstance(columns, Framed):
        labels = [at for at, label in enumerate(columns.frame.columns) if str(label) == name]
        series = columns.frame.iloc[:, labels[0]]
    else:
        series = columns.read(name)
    return InMemory(_taken(of_pandas(series, name), rows))


def _names(columns: Columns, rows: axes.Positions | None) -> Column:
    """The same for the names of cells or genes."""
    if isinstance(columns, Taken):
        return _names(columns.columns, columns.placed(rows))
    if isinstance(columns, Changed) and columns.own_index is None:
        return _names(columns.columns, rows)
    if isinstance(columns, Stored):
        kind = "cell" if columns.axis == "obs" else "gene"
        return OnDisk(columns.dataset, columns.table, f"{kind}_id", rows)
    index: pd.Index = columns.index()
    texts = pa.array(np.asarray(index, dtype=object), pa.string(), from_pandas=True)
    return InMemory(_taken(pl.Series(texts), rows))


def _free(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name


def of_pandas(series: pd.Series, name: str) -> pl.Series:
    """A copy in the type in which a table of the dataset would store it."""
    notices: dict[str, str] = {}
    return pl.Series(name, pl.Series(encode_column(series.copy(), name, notices)[0]))


def _in_memory(column: InMemory | Numbers | ByRows, rows: axes.Positions | None) -> pl.Series:
    if isinstance(column, InMemory):
        return _taken(column.series, rows)
    if isinstance(column, ByRows):
        at = column.rows if rows is None else axes.compose(column.rows, rows)
        return pl.Series(column.read(at), dtype=column.dtype)
    at = column.at if rows is None else axes.compose(column.at, rows)
    return pl.Series(np.asarray(at, dtype=np.uint32))


def _taken(series: pl.Series, rows: axes.Positions | None) -> pl.Series:
    if rows is None or axes.is_all(rows, len(series)):
        return series
    if isinstance(rows, range) and rows.step == 1:
        return series.slice(rows.start, len(rows))
    return series.gather(np.asarray(rows, dtype=np.int64))
