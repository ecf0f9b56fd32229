"""Joins obs of several inputs. Columns stay in their files until they are written, if they
have the same type in all inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import pandas as pd

from slaf.data.sources.joined_columns import alike, kind_of
from slaf.data.sources.stacked_rows import spans
from slaf.ground.metadata.frames import (
    MANY_CATEGORIES,
    Column,
    Columns,
    ids_of,
    rows_between,
)


class JoinedColumns:
    """The frames `parts`, one below the other.

    Parameters
    ----------
    names
        The name of each input, for warnings.
    suffixes
        What is appended to the ids of each input.
    instead
        Columns of the result that take the place of those of the inputs.
    left_out
        A column of each input that the result does not have, if any.
    """

    index_name = None

    def __init__(
        self,
        parts: Sequence[pd.DataFrame | Columns],
        names: Sequence[str],
        suffixes: Sequence[str],
        instead: dict[str, pd.Series],
        left_out: Sequence[str | None],
    ):
        self._parts, self._names, self._suffixes = parts, names, suffixes
        self._instead, self._left_out = instead, left_out

    def ids(self) -> Column:
        return _Ids([ids_of(part) for part in self._parts], self._suffixes)

    def items(self) -> Iterator[tuple[str, Column | pd.Series]]:
        yield from self._columns.items()

    @cached_property
    def _columns(self) -> dict[str, Column | pd.Series]:
        found = [dict(part.items()) for part in self._parts]
        for part, left_out in zip(found, self._left_out, strict=True):
            part.pop(left_out, None)
        every = dict.fromkeys(name for part in found for name in part)
        columns: dict[str, Any] = {}
        differing: dict[str, list[Any]] = {}
        for name in every:
            parts = [part.get(name) for part in found]
            dtype = None if name in self._instead else _common_dtype(parts)
            # Keeps its place among the columns.
            columns[name] = None if dtype is None else _Joined(parts, dtype)
            if dtype is None and name not in self._instead:
                differing[name] = parts
        return columns | self._in_memory(differing) | self._instead

    def _in_memory(self, columns: dict[str, list[Any]]) -> dict[str, pd.Series]:
        """Joins columns whose types differ, or that some inputs lack."""
        lengths = [len(ids_of(part)) for part in self._parts]
        frames = []
        for number, length in enumerate(lengths):
            there = {name: parts[number] for name, parts in columns.items()}
            read = {n: rows_between(c, 0, length).array for n, c in there.items() if c is not None}
            frames.append(pd.DataFrame(read, index=range(length)))
        frames = alike(frames, list(self._names), "obs")
        return {
            name: _joined([frame[[name]] if name in frame else frame[[]] for frame in frames])
            for name in columns
        }


class _Joined:
    """Columns of the same type, one below the other."""

    def __init__(self, parts: Sequence[Column | pd.Series], dtype: Any):
        self._parts, self._dtype = parts, dtype
        self._ends = [*accumulate(map(len, parts))]
        self.is_text = _holds_objects(dtype)

    def __len__(self) -> int:
        return self._ends[-1]

    def rows(self, start: int, end: int) -> pd.Series:
        found = [self._of_part(*span) for span in spans(self._ends, start, end)]
        return pd.concat(found or [self._of_part(0, 0, 0)], ignore_index=True)

    def _of_part(self, number: int, start: int, end: int) -> pd.Series:
        return rows_between(self._parts[number], start, end).astype(self._dtype)


class _Ids(_Joined):
    """Ids, with what is appended to those of each input."""

    def __init__(self, parts: Sequence[Column | pd.Series], suffixes: Sequence[str]):
        super().__init__(parts, np.dtype(object))
        self._suffixes = suffixes

    def _of_part(self, number: int, start: int, end: int) -> pd.Series:
        ids, suffix = super()._of_part(number, start, end), self._suffixes[number]
        return pd.Series([f"{name}{suffix}" for name in ids], dtype=object) if suffix else ids


def _common_dtype(parts: Sequence[Column | pd.Series | None]) -> Any:
    """The dtype of columns that can be joined range by range; None if there is none."""
    if any(part is None for part in parts):
        return None
    dtypes = [rows_between(part, 0, 0).dtype for part in parts]
    if all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        kinds = {kind_of(pd.Series(dtype.categories)) for dtype in dtypes}
        few = sum(len(dtype.categories) for dtype in dtypes) <= MANY_CATEGORIES
        united = _united(dtypes) if few and len(kinds) == 1 and None not in kinds else None
        return united if isinstance(united, pd.CategoricalDtype) else None
    text = all(getattr(part, "is_text", False) for part in parts)
    same = all(dtype == dtypes[0] for dtype in dtypes)
    return dtypes[0] if same and (text or not _holds_objects(dtypes[0])) else None


def _joined(frames: Sequence[pd.DataFrame]) -> pd.Series:
    """Frames of one column, which some do not have, joined as `anndata.concat` does."""
    dtypes = [dtype for frame in frames for dtype in frame.dtypes]
    if all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes):
        frames = [frame.astype(_united(dtypes)) for frame in frames]
    elif all(map(pd.api.types.is_bool_dtype, dtypes)) and len(dtypes) < len(frames):
        frames = [frame.astype("boolean") for frame in frames]
    return pd.concat(frames, ignore_index=True).iloc[:, 0]


def _united(dtypes: Sequence[pd.CategoricalDtype]) -> Any:
    """The dtype that `anndata.concat` gives to categories: with all of them, or object."""
    import anndata

    nothing = pd.Index([], dtype=object)
    frames = [pd.DataFrame({"x": pd.Categorical([], dtype=dtype)}, nothing) for dtype in dtypes]
    return anndata.concat([anndata.AnnData(obs=frame) for frame in frames]).obs["x"].dtype


def _holds_objects(dtype: Any) -> bool:
    return dtype == np.dtype(object)
