"""Nearest neighbours on the embeddings of a handle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slaf import _axis, _slaf
from slaf.lazy.readers import AXES, InMemory, StoredVectors

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyAnnData

#: Below so many vectors an index is not worth its loss: all are looked at.
EXACT_BELOW = 200_000


@dataclass(frozen=True)
class Neighbours:
    """What a search has found.

    Attributes
    ----------
    indices
        Rows of the handle, from near to far, -1 where there are no more: int64,
        queries × k, or k for one query.
    distances
        Their distances, infinite where there is no row: float64, the same shape.
    names
        Names of the handle's rows.
    exact
        Whether every vector was looked at, rather than an index.
    """

    indices: np.ndarray
    distances: np.ndarray
    names: pd.Index
    exact: bool

    @property
    def frame(self) -> pd.DataFrame:
        """A row a neighbour: `query` (if there are several), `name`, `index` and
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

    def _repr_html_(self) -> str:
        return self.frame._repr_html_()


def search(
    handle: LazyAnnData,
    section: str,
    key: str,
    query: Any,
    k: int,
    metric: str,
    among: Any,
    exact: bool | None,
    visit: int | None,
) -> Neighbours:
    """Of `handle.obsm` or `handle.varm`; see the views' `search`."""
    axis = AXES[section]
    names = (handle.obs_names, handle.var_names)[axis]
    n = handle.shape[axis]
    view = getattr(handle, section)
    source = _source(view, key)
    queries, single = _queries(view, key, query, names, "obs" if axis == 0 else "var")
    mask = None if among is None else _mask(handle, among, names, axis)
    if source is None:
        if exact is False:
            raise ValueError(f"{section}[{key!r}] is not stored in a dataset, so it has no index.")
        vectors = np.ascontiguousarray(np.asarray(view[key]), dtype=np.float32)
        rows, distances = _slaf.nearest_of(vectors, queries, k, metric, mask)
        return _neighbours(rows, distances, names, single, True)
    stored = source.place
    dataset, places = handle.slaf._dataset, (handle._cells, handle._genes)[axis]
    whole = _axis.is_all(places, handle.slaf.shape[axis])
    visited = None
    if exact is not True and (exact is False or n >= EXACT_BELOW):
        visited = _visited(dataset, stored, metric, whole and mask is None, exact, visit)
    back = None
    if not whole:
        places = np.asarray(places, dtype=np.int64)
        total = handle.slaf.shape[axis]
        chosen, back = np.zeros(total, dtype=bool), np.full(total, -1, dtype=np.int64)
        chosen[places if mask is None else places[mask]] = True
        back[places] = np.arange(n)
        mask = chosen
    rows, distances = _slaf.nearest_rows(dataset, *stored, queries, k, metric, mask, visited)
    if back is not None:
        rows = np.where(rows >= 0, back[rows], -1)
    return _neighbours(rows, distances, names, single, visited is None)


def _source(view: Any, key: str) -> StoredVectors | None:
    """The column that the vectors are in, if nobody has written to them since."""
    reader = view._found(key)
    stored = reader.of if isinstance(reader, InMemory) else reader
    if not (isinstance(stored, StoredVectors) and stored.searchable):
        return None
    held = view._in_memory(key)
    same = held is None or np.array_equal(held, stored(view._rows), equal_nan=True)
    return stored if same else None


def _neighbours(
    rows: np.ndarray, distances: np.ndarray, names: pd.Index, single: bool, exact: bool
) -> Neighbours:
    if single:
        rows, distances = rows[0], distances[0]
    return Neighbours(rows, distances, names, exact)


def _visited(
    dataset: _slaf.Dataset,
    stored: tuple[str, str],
    metric: str,
    whole: bool,
    exact: bool | None,
    visit: int | None,
) -> int | None:
    """Partitions to visit; None to look at everything."""
    index = _slaf.vector_index(dataset, *stored)
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


def _queries(
    view: Any, key: str, query: Any, names: pd.Index, axis: str
) -> tuple[np.ndarray, bool]:
    """Vectors, queries × length, and whether one was given."""
    single = isinstance(query, str)
    if single or (isinstance(query, Sequence) and query and isinstance(query[0], str)):
        rows = _axis.positions(query, len(names), lambda: names, axis)
        vectors = view._found(key)(_axis.compose(view._rows, rows))
        return np.ascontiguousarray(np.asarray(vectors), dtype=np.float32), single
    vectors = np.asarray(query, dtype=np.float32)
    if vectors.ndim not in (1, 2):
        raise ValueError(f"A query is a vector or a matrix of vectors, not {vectors.ndim}-d.")
    return np.ascontiguousarray(np.atleast_2d(vectors)), vectors.ndim == 1


def _mask(handle: LazyAnnData, among: Any, names: pd.Index, axis: int) -> np.ndarray:
    mask = np.zeros(len(names), dtype=bool)
    if isinstance(among, str):
        if handle.slaf is None:
            raise ValueError("A SQL condition needs a handle over one dataset.")
        table, number = (("cells", "cell_integer_id"), ("genes", "gene_integer_id"))[axis]
        found = handle.slaf.query(f"SELECT {number} FROM {table} WHERE ({among})")
        chosen = np.zeros(handle.slaf.shape[axis], dtype=bool)
        chosen[found[number].to_numpy()] = True
        return chosen[np.asarray((handle._cells, handle._genes)[axis], dtype=np.int64)]
    mask[np.asarray(_axis.positions(among, len(names), lambda: names, ("obs", "var")[axis]))] = True
    return mask
