"""Values along an axis of a handle: read from the dataset when asked for, or in
memory, as they were set or handed out."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import _axis
from slaf.lazy.sources import noted_dtype

if TYPE_CHECKING:
    from slaf.array import SLAFArray

#: Reads some rows of a value. What it gives may be shared: who hands it out
#: hands out a copy, but for what is held :class:`InMemory`.
Reader = Callable[[_axis.Positions], Any]

#: The axis, 0 or 1, of each section of arrays.
AXES = {"obsm": 0, "varm": 1, "obsp": 0, "varp": 1}

#: Those whose values have the axis twice.
SQUARE = ("obsp", "varp")


class InMemory:
    """A value of the handle's own: each time the same object, which may be
    written to. `of` is what it was read from."""

    def __init__(self, value: Any, square: bool, of: Reader | None = None):
        self.value, self.square, self.of = value, square, of

    def rows(self, rows: _axis.Positions) -> Any:
        """Some rows; of a square value, of its columns too."""
        if _axis.is_all(rows, self.value.shape[0]):
            return self.value
        if not self.square:
            return _trimmed(_axis.take(self.value, rows))
        index = np.asarray(rows, dtype=np.int64)
        return self.value[index][:, index]

    __call__ = rows


def held(value: Any) -> InMemory:
    return InMemory(value, square=False)


def held_pairs(value: Any) -> InMemory:
    return InMemory(value, square=True)


class Part:
    """Some rows of what another reads."""

    def __init__(self, reader: Reader, outer: _axis.Positions):
        self._reader, self._outer = reader, outer

    def __call__(self, rows: _axis.Positions) -> Any:
        return self._reader(_axis.compose(self._outer, rows))


class StoredVectors:
    """Reads a column of vectors; who knows that it is one can search in it."""

    def __init__(self, array: SLAFArray, table: str, column: str):
        self._array, self.place = array, (table, column)

    def __call__(self, rows: _axis.Positions) -> np.ndarray:
        return self._array._vector(*self.place, rows)

    @property
    def searchable(self) -> bool:
        table, column = self.place
        return "Float32" in self._array._columns[table][column]


class StoredPairs:
    """Reads a graph: CSR, or dense where that was stored."""

    def __init__(self, array: SLAFArray, section: str, key: str):
        self._array, self._section, self._key = array, section, key

    def __call__(self, rows: _axis.Positions) -> Any:
        array, section, key = self._array, self._section, self._key
        dtype, place = noted_dtype(array, section, key), _axis.argument(rows)
        indptr, indices, data = array._dataset.pairs(section, key, place, place, dtype.name)
        n = len(rows)
        data = data.astype(dtype, copy=False)
        matrix = sparse.csr_matrix((data, indices, indptr), shape=(n, n), copy=False)
        dense = array._notes.get(section, {}).get(key, {}).get("dense")
        return matrix.toarray() if dense else matrix


class StoredExtra:
    """Reads what the dataset keeps beside its tables."""

    def __init__(self, array: SLAFArray, section: str, key: str):
        self._array, self._section, self._key = array, section, key

    def __call__(self, rows: _axis.Positions) -> Any:
        value = self._array._extras[self._section][self._key]
        return InMemory(value, self._section in SQUARE)(rows)


def part_of(reader: Reader, rows: _axis.Positions) -> Reader:
    """Some rows, apart from the whole."""
    if isinstance(reader, InMemory):
        return InMemory(apart(reader(rows)), reader.square)
    if isinstance(reader, StoredVectors) and _axis.is_all(rows, reader._array.shape[_of(reader)]):
        return reader
    return Part(reader, rows)


def _of(reader: StoredVectors) -> int:
    return 0 if reader.place[0] == "cells" else 1


def _trimmed(value: Any) -> Any:
    """As AnnData, which drops the categories of a frame that a view has none of."""
    if not isinstance(value, pd.DataFrame):
        return value
    value = value.copy(deep=False)
    for at, dtype in enumerate(value.dtypes):
        if isinstance(dtype, pd.CategoricalDtype):
            value.isetitem(at, value.iloc[:, at].cat.remove_unused_categories())
    return value


def apart(value: Any) -> Any:
    """A copy, writable as numpy's are."""
    return value.copy() if hasattr(value, "copy") else deepcopy(value)
