"""Values along an axis of a handle: read from the dataset on demand, or in memory if they
were set or already used."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf.dataset import Dataset
from slaf.ground import axes

#: Reads some rows of a value. The result may be shared, so it is copied before the user
#: receives it, except for values that are :class:`InMemory`.
Reader = Callable[[axes.Positions], Any]

#: The axis, 0 or 1, of each section of arrays.
AXES = {"obsm": 0, "varm": 1, "obsp": 0, "varp": 1}

#: Sections whose values have the axis twice.
SQUARE = ("obsp", "varp")


class InMemory:
    """A value in memory, which the handle owns. It is always the same object, so it can
    be edited. `of` is the reader that it came from."""

    def __init__(self, value: Any, square: bool, of: Reader | None = None):
        self.value, self.square, self.of = value, square, of

    def rows(self, rows: axes.Positions) -> Any:
        """Some rows; for a square value, also these columns."""
        if axes.is_all(rows, self.value.shape[0]):
            return self.value
        if not self.square:
            return _trimmed(axes.take(self.value, rows))
        index = np.asarray(rows, dtype=np.int64)
        return self.value[index][:, index]

    __call__ = rows


def held(value: Any) -> InMemory:
    return InMemory(value, square=False)


def held_pairs(value: Any) -> InMemory:
    return InMemory(value, square=True)


class PartReader:
    """Some rows of another reader."""

    def __init__(self, reader: Reader, outer: axes.Positions):
        self.reader, self.outer = reader, outer

    def __call__(self, rows: axes.Positions) -> Any:
        return self.reader(axes.compose(self.outer, rows))


class VectorReader:
    """Reads a column of vectors; searches use its dataset directly."""

    def __init__(self, dataset: Dataset, table: str, column: str):
        self.dataset, self.table, self.column = dataset, table, column

    def __call__(self, rows: axes.Positions) -> np.ndarray:
        return self.dataset.vector(self.table, self.column, rows)

    @property
    def searchable(self) -> bool:
        return "Float32" in self.dataset.columns[self.table][self.column]


class GraphReader:
    """Reads a graph: CSR, or dense if it was stored dense."""

    def __init__(self, dataset: Dataset, section: str, key: str):
        self.dataset, self.section, self.key = dataset, section, key

    def __call__(self, rows: axes.Positions) -> Any:
        n = len(rows)
        indptr, indices, data = self.dataset.matrix_csr(self.section, self.key, rows, rows)
        matrix = sparse.csr_matrix((data, indices, indptr), shape=(n, n), copy=False)
        dense = self.dataset.notes.get(self.section, {}).get(self.key, {}).get("dense")
        return matrix.toarray() if dense else matrix


class ExtraReader:
    """Reads an entry that the dataset stores outside of its tables."""

    def __init__(self, dataset: Dataset, section: str, key: str):
        self.dataset, self.section, self.key = dataset, section, key

    def __call__(self, rows: axes.Positions) -> Any:
        value = self.dataset.extras[self.section][self.key]
        return InMemory(value, self.section in SQUARE)(rows)


def part_of(reader: Reader, rows: axes.Positions) -> Reader:
    """Some rows, independent of the whole."""
    if isinstance(reader, InMemory):
        return InMemory(apart(reader(rows)), reader.square)
    if isinstance(reader, VectorReader):
        height = reader.dataset.shape[0 if reader.table == "cells" else 1]
        if axes.is_all(rows, height):
            return reader
    return PartReader(reader, rows)


def _trimmed(value: Any) -> Any:
    """Removes unused categories from a part of a frame, as AnnData does."""
    if not isinstance(value, pd.DataFrame):
        return value
    value = value.copy(deep=False)
    for at, dtype in enumerate(value.dtypes):
        if isinstance(dtype, pd.CategoricalDtype):
            value.isetitem(at, value.iloc[:, at].cat.remove_unused_categories())
    return value


def apart(value: Any) -> Any:
    """A copy, writable as numpy's copies are."""
    return value.copy() if hasattr(value, "copy") else deepcopy(value)
