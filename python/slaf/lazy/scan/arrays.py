"""Embeddings and graphs of a handle as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from slaf import SlafError, _axis
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.readers import Part, Reader, StoredPairs, StoredVectors
from slaf.lazy.scan.axes import Axis, ByRows, Column, InMemory, OnDisk, of_pandas
from slaf.lazy.scan.rows import Rows
from slaf.lazy.scan.source import Source
from slaf.lazy.scan.values import Values
from slaf.lazy.sources import Held, noted_dtype
from slaf.lazy.stacked import StackedVectors
from slaf.lazy.steps import Arrays

if TYPE_CHECKING:
    from slaf.array import SLAFArray


def vectors(title: str, axis: Axis, view: Any, key: str) -> Source:
    """`obsm` or `varm` of a key: ids, names, and a column of arrays; of a frame,
    its columns."""
    value = view._in_memory(key)
    reader, rows = _unwrapped(view._found(key), view._rows)
    if value is None and isinstance(reader, StoredVectors):
        table, column = reader.place
        stored = OnDisk(reader._array, table, column, rows)
        return _beside(title, axis, {key: stored})
    if value is None and isinstance(reader, StackedVectors):
        kind = pl.Array(pl.Series(np.empty(0, reader.dtype)).dtype, reader.width)
        return _beside(title, axis, {key: ByRows(reader, rows, kind)})
    value = reader(rows) if value is None else value
    if isinstance(value, pd.DataFrame):
        columns = {str(name): of_pandas(value[name], str(name)) for name in value}
        return _beside(title, axis, {name: InMemory(s) for name, s in columns.items()})
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise SlafError(f"{view.section}[{key!r}] is no array of numbers, and makes no column.")
    return _beside(title, axis, {key: InMemory(pl.Series(key, value.copy()))})


def pairs(title: str, axis: Axis, view: Any, key: str) -> Source:
    """`obsp` or `varp` of a key: the ids of both ends of an edge, and its value."""
    value = view._in_memory(key)
    reader, rows = _unwrapped(view._found(key), view._rows)
    if value is None and isinstance(reader, StoredPairs):
        graph = LazyExpressionMatrix._of(_Graph(reader._array, reader._section, reader._key))
        graph = graph._at(rows, rows)
    else:
        value = reader(rows) if value is None else value
        graph = LazyExpressionMatrix._of(Held(value.copy()))
    return Values(title, graph, axis.end("i"), axis.end("j"))


def _unwrapped(reader: Reader, rows: _axis.Positions) -> tuple[Reader, _axis.Positions]:
    while isinstance(reader, Part):
        reader, rows = reader._reader, _axis.compose(reader._outer, rows)
    return reader, rows


def _beside(title: str, axis: Axis, columns: dict[str, Column]) -> Source:
    return Rows(title, axis.only([axis.id_name, axis.text_name]).having(columns))


class _Graph:
    """A graph of a dataset as a matrix of which any part can be read."""

    def __init__(self, array: SLAFArray, section: str, key: str):
        self.array, self.section, self.key = array, section, key
        n = array.shape[0 if section == "obsp" else 1]
        self.shape = (n, n)
        self.dtype = noted_dtype(array, section, key)
        table = "cellsxcells" if section == "obsp" else "genesxgenes"
        # At most: by it blocks are measured.
        self.nnz = next(rows for name, rows, _ in array._dataset.tables() if name == table)

    def csr(self, rows: _axis.Positions, columns: _axis.Positions) -> Arrays:
        place = _axis.argument(rows), _axis.argument(columns)
        read = self.array._dataset.pairs(self.section, self.key, *place, self.dtype.name)
        return (*read[:2], read[2].astype(self.dtype, copy=False))
