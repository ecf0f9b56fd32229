"""Nearest neighbours on the embeddings of a handle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from slaf import _slaf
from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.workers import current, each
from slaf.lazy.readers import AXES, InMemory, VectorReader
from slaf.lazy.state import HandleState
from slaf.sql.filters import rows_where

#: With fewer vectors than this, an exact search is fast enough, and no index is used.
EXACT_BELOW = 200_000

#: Size of the vectors of a task, in numbers of 4 bytes: 16 MB.
_VALUES_OF_A_TASK = 4 << 20


@dataclass(frozen=True)
class Neighbours:
    """The result of a search.

    Attributes
    ----------
    indices
        Rows of the handle, nearest first, -1 if there are fewer: int64, queries × k, or
        k for one query.
    distances
        Their distances, infinite if there is no row: float64, the same shape.
    names
        Names of these rows.
    exact
        Whether every vector was compared; False if an index was used.
    """

    indices: np.ndarray
    distances: np.ndarray
    names: pd.Index
    exact: bool

    @property
    def frame(self) -> pd.DataFrame:
        """One row per neighbour: `query` (if there are several), `name`, `index` and
        `distance`."""
        found = self.indices.ravel() >= 0
        columns = {
            "name": self.names[self.indices.ravel()[found]],
            "index": self.indices.ravel()[found],
            "distance": self.distances.ravel()[found],
        }
        if self.indices.ndim == 2:
            queries = np.repeat(np.arange(len(self.indices)), self.indices.shape[1])
            columns = {"query": queries[found], **columns}
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        return self._drawn()[1]

    def _repr_html_(self) -> str:
        return self._drawn()[0]

    def _drawn(self) -> tuple[str, str]:
        found = pa.Table.from_pandas(self.frame, preserve_index=False)
        note = "all vectors looked at" if self.exact else "found through the index"
        return _slaf.draw_table(found, f"nearest first · {note}")


def search(
    state: HandleState,
    section: str,
    key: str,
    query: Any,
    k: int,
    metric: str,
    among: Any,
    exact: bool | None,
    visit: int | None,
) -> Neighbours:
    """Searches obsm or varm, which must have `key`; see the views' `search`."""
    axis = AXES[section]
    names, n = state.names(axis), state.shape[axis]
    source = _source(state, section, key)
    queries, single = _queries(state, section, key, query)
    mask = None if among is None else _mask(state, among, names, axis)
    if source is None:
        if exact is False:
            raise ValueError(f"{section}[{key!r}] is not stored in a dataset, so it has no index.")
        vectors = np.ascontiguousarray(np.asarray(state.value(section, key)), dtype=np.float32)
        rows, distances = _slaf.nearest_of(vectors, queries, k, metric, mask)
        return _neighbours(rows, distances, names, single, True)
    stored = source.table, source.column
    engine, places = state.dataset.engine, state.in_dataset(axis)
    whole = axes.is_all(places, state.dataset.shape[axis])
    visited = None
    if exact is not True and (exact is False or n >= EXACT_BELOW):
        visited = _visited(engine, stored, metric, whole and mask is None, exact, visit)
    back = None
    if not whole:
        places = np.asarray(places, dtype=np.int64)
        total = state.dataset.shape[axis]
        chosen, back = np.zeros(total, dtype=bool), np.full(total, -1, dtype=np.int64)
        chosen[places if mask is None else places[mask]] = True
        back[places] = np.arange(n)
        mask = chosen
    if visited is None and current() is not None:
        rows, distances = _by_tasks(state.dataset, stored, queries, k, metric, mask)
    else:
        rows, distances = _slaf.nearest_rows(engine, *stored, queries, k, metric, mask, visited)
    if back is not None:
        rows = np.where(rows >= 0, back[rows], -1)
    return _neighbours(rows, distances, names, single, visited is None)


@dataclass(frozen=True)
class _Task:
    """A search among some rows of a column of vectors."""

    dataset: Dataset
    table: str
    column: str
    rows: range
    queries: np.ndarray
    k: int
    metric: str
    mask: np.ndarray | None


def _nearest(task: _Task) -> tuple[np.ndarray, np.ndarray]:
    vectors = np.ascontiguousarray(task.dataset.vector(task.table, task.column, task.rows))
    rows, distances = _slaf.nearest_of(vectors, task.queries, task.k, task.metric, task.mask)
    return np.where(rows >= 0, rows + task.rows.start, -1), distances


def _by_tasks(
    dataset: Dataset,
    stored: tuple[str, str],
    queries: np.ndarray,
    k: int,
    metric: str,
    mask: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances, queries × k: the nearest among those of all tasks."""
    height = dataset.shape[0 if stored[0] == "cells" else 1]
    step = max(1, _VALUES_OF_A_TASK // max(1, queries.shape[1]))
    tasks = [
        _Task(
            dataset,
            *stored,
            rows,
            queries,
            k,
            metric,
            axes.take(mask, rows) if mask is not None else None,
        )
        for rows in (range(at, min(at + step, height)) for at in range(0, height, step))
    ]
    found = [np.concatenate(parts, axis=1) for parts in zip(*each(_nearest, tasks), strict=True)]
    rows, distances = found
    # In the engine's order: -0.0 comes before 0.0, and of equal distances the first
    # row.
    order = np.lexsort((rows, ~np.signbit(distances), distances), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


def _source(state: HandleState, section: str, key: str) -> VectorReader | None:
    """The column that contains the vectors, if they were not changed since."""
    reader = state.held(section)[key]
    stored = reader.of if isinstance(reader, InMemory) else reader
    if not (isinstance(stored, VectorReader) and stored.searchable):
        return None
    held = state.in_memory(section, key)
    same = held is None or np.array_equal(held, stored(state.rows(section)), equal_nan=True)
    return stored if same else None


def _neighbours(
    rows: np.ndarray, distances: np.ndarray, names: pd.Index, single: bool, exact: bool
) -> Neighbours:
    if single:
        rows, distances = rows[0], distances[0]
    return Neighbours(rows, distances, names, exact)


def _visited(
    engine: _slaf.Dataset,
    stored: tuple[str, str],
    metric: str,
    whole: bool,
    exact: bool | None,
    visit: int | None,
) -> int | None:
    """The number of partitions to visit; None to compare every vector."""
    index = _slaf.vector_index(engine, *stored)
    fits = index is not None and index[0] == metric and whole
    if exact is False and not fits:
        why = (
            f"there is none; `slaf index DATASET --vector {stored[1]}` makes it"
            if index is None
            else f"it is for the metric {index[0]!r}"
            if index[0] != metric
            else "it covers the whole dataset, and this is a part of it"
        )
        raise ValueError(f"The index of {stored[1]!r} cannot be used: {why}.")
    return None if not fits else visit or index[2]


def _queries(state: HandleState, section: str, key: str, query: Any) -> tuple[np.ndarray, bool]:
    """The query vectors, queries × length, and whether a single one was given."""
    single = isinstance(query, str)
    if single or (isinstance(query, Sequence) and query and isinstance(query[0], str)):
        axis = AXES[section]
        names = state.names(axis)
        rows = axes.positions(query, len(names), lambda: names, ("obs", "var")[axis])
        vectors = state.held(section)[key](axes.compose(state.rows(section), rows))
        return np.ascontiguousarray(np.asarray(vectors), dtype=np.float32), single
    vectors = np.asarray(query, dtype=np.float32)
    if vectors.ndim not in (1, 2):
        raise ValueError(f"A query is a vector or a matrix of vectors, not {vectors.ndim}-d.")
    return np.ascontiguousarray(np.atleast_2d(vectors)), vectors.ndim == 1


def _mask(state: HandleState, among: Any, names: pd.Index, axis: int) -> np.ndarray:
    mask = np.zeros(len(names), dtype=bool)
    if isinstance(among, str):
        dataset = state.dataset
        if dataset is None:
            raise ValueError("A SQL condition needs a handle over one dataset.")
        chosen = np.zeros(dataset.shape[axis], dtype=bool)
        chosen[rows_where(dataset, ("cells", "genes")[axis], among)] = True
        return chosen[np.asarray(state.in_dataset(axis), dtype=np.int64)]
    mask[np.asarray(axes.positions(among, len(names), lambda: names, ("obs", "var")[axis]))] = True
    return mask
