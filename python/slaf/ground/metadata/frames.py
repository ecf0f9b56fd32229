"""Frames that stay in their file and are read one column at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pandas as pd


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
    frame = pd.DataFrame({name: _series_of(column) for name, column in columns.items()})
    frame.index = index_of(columns)
    return frame


def index_of(columns: pd.DataFrame | Columns) -> pd.Index:
    if isinstance(columns, pd.DataFrame):
        return columns.index
    return pd.Index(_series_of(columns.ids()), name=columns.index_name)


def _series_of(column: pd.Series | Column) -> pd.Series:
    return column if isinstance(column, pd.Series) else column.rows(0, len(column))
