"""Frames that stay in their file and are read one column at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pandas as pd
import polars as pl
import pyarrow as pa

#: Maximum number of categories of a column that is read in ranges of rows; they are
#: encoded for each range.
MANY_CATEGORIES = 10_000

#: Ids that are read at a time.
_IDS = 1 << 18


class Column(Protocol):
    """A column of a frame that stays in its file."""

    def __len__(self) -> int: ...

    def rows(self, start: int, end: int) -> pd.Series: ...


class Columns(Protocol):
    """A frame that stays in its file."""

    index_name: str | None

    def ids(self) -> pd.Series | Column: ...

    def items(self) -> Iterator[tuple[str, pd.Series | Column]]: ...


def frame_of(columns: pd.DataFrame | Columns) -> pd.DataFrame:
    """Reads all columns into memory."""
    if isinstance(columns, pd.DataFrame):
        return columns
    frame = pd.DataFrame({name: rows_between(c, 0, len(c)) for name, c in columns.items()})
    frame.index = index_of(columns)
    return frame


def index_of(columns: pd.DataFrame | Columns) -> pd.Index:
    if isinstance(columns, pd.DataFrame):
        return columns.index
    ids = columns.ids()
    return pd.Index(rows_between(ids, 0, len(ids)), name=columns.index_name)


def ids_of(columns: pd.DataFrame | Columns) -> pd.Series | Column:
    """The index, as a column."""
    if isinstance(columns, pd.DataFrame):
        return pd.Series(columns.index)
    return columns.ids()


def rows_between(column: pd.Series | Column, start: int, end: int) -> pd.Series:
    """Some rows of a column."""
    if isinstance(column, pd.Series):
        return column.iloc[start:end]
    return column.rows(start, end)


def texts_of(columns: pd.DataFrame | Columns) -> pl.Series:
    """The index, which is text."""
    ids = ids_of(columns)
    spans = range(0, len(ids), _IDS)
    parts = (rows_between(ids, at, min(at + _IDS, len(ids))) for at in spans)
    texts = [pa.array(part, pa.large_string(), from_pandas=True) for part in parts]
    return pl.Series(pa.chunked_array(texts, pa.large_string()))
