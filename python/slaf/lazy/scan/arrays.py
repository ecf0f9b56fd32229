"""Embeddings and graphs of a handle as tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl

from slaf._slaf import SlafError
from slaf.ground import axes
from slaf.lazy.concat_arrays import StackedVectors
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import AXES, GraphReader, PartReader, Reader, VectorReader
from slaf.lazy.scan.axis_columns import Axis, ByRows, Column, InMemory, OnDisk, of_pandas
from slaf.lazy.scan.rows import Rows
from slaf.lazy.scan.source import Source
from slaf.lazy.scan.values import Values
from slaf.lazy.sources import Held, StoredPairs
from slaf.lazy.state import HandleState


def vectors(title: str, axis: Axis, state: HandleState, section: str, key: str) -> Source:
    """A key of `obsm` or `varm` as a table: ids, names, and a column of arrays; for a
    frame, its columns."""
    value = state.in_memory(section, key)
    reader, rows = _unwrapped(state.held(section)[key], state.rows(section))
    if value is None and isinstance(reader, VectorReader):
        stored = OnDisk(reader.dataset, reader.table, reader.column, rows)
        return _beside(title, axis, {key: stored})
    if value is None and isinstance(reader, StackedVectors):
        kind = pl.Array(pl.Series(np.empty(0, reader.dtype)).dtype, reader.width)
        return _beside(title, axis, {key: ByRows(reader, rows, kind)})
    value = reader(rows) if value is None else value
    if isinstance(value, pd.DataFrame):
        columns = {str(name): of_pandas(value[name], str(name)) for name in value}
        return _beside(title, axis, {name: InMemory(s) for name, s in columns.items()})
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise SlafError(f"{section}[{key!r}] is not an array of numbers, so it cannot be a column.")
    return _beside(title, axis, {key: InMemory(pl.Series(key, value.copy()))})


def pairs(title: str, axis: Axis, state: HandleState, section: str, key: str) -> Source:
    """A key of `obsp` or `varp` as a table: the ids of both ends of an edge, and its
    value."""
    value = state.in_memory(section, key)
    reader, rows = _unwrapped(state.held(section)[key], state.rows(section))
    if value is None and isinstance(reader, GraphReader):
        graph = MatrixPlan.of(_graph(reader)).at(rows, rows)
    else:
        value = reader(rows) if value is None else value
        graph = MatrixPlan.of(Held(value.copy()))
    return Values(title, graph, axis.end("i"), axis.end("j"))


def _graph(reader: GraphReader) -> StoredPairs:
    """A graph of a dataset as a matrix that can be read in parts."""
    graph = StoredPairs(reader.dataset, reader.section, reader.key)
    table = "cellsxcells" if AXES[reader.section] == 0 else "genesxgenes"
    # An upper limit, which is used to size blocks.
    graph.nnz = next(rows for name, rows, _ in reader.dataset.engine.tables() if name == table)
    return graph


def _unwrapped(reader: Reader, rows: axes.Positions) -> tuple[Reader, axes.Positions]:
    while isinstance(reader, PartReader):
        rows = axes.compose(reader.outer, rows)
        reader = reader.reader
    return reader, rows


def _beside(title: str, axis: Axis, columns: dict[str, Column]) -> Source:
    return Rows(title, axis.only([axis.id_name, axis.text_name]).having(columns))
