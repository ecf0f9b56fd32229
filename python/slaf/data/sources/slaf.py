"""Another SLAF dataset, or some of its cells in any order, as a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from slaf.data.sources.base import BLOCK_VALUES, Block, Parts, Source
from slaf.data.sources.stacked_rows import RowsInFile
from slaf.ground.axes import Positions, compose
from slaf.ground.dtypes import NUMBERS
from slaf.ground.metadata.frames import Column
from slaf.lazy.export import to_adata
from slaf.lazy.frame import whole
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import Reader, VectorReader
from slaf.lazy.reduce import csr_arrays
from slaf.lazy.sources import StoredX
from slaf.lazy.state import HandleState
from slaf.lazy.stream import blocks_of, rows_of_a_block


def slaf_source(state: HandleState, *, name: str | None = None) -> Source:
    """A source for the cells and genes of a handle."""
    raw = state.raw
    return Source(
        name=name or _name(state),
        x=_Rows(state.x, state.shape),
        metadata=lambda: to_adata(state, x=False),
        parts=lambda: _parts(state),
        first=lambda: to_adata(
            state.at(range(min(64, state.shape[0])), range(state.shape[1])), x=False, layers=False
        ),
        fingerprint=_fingerprint(state),
        raw=None if raw is None else slaf_source(raw),
        source_column=_source_column(state),
    )


def _source_column(state: HandleState) -> str | None:
    """The column of obs that a conversion or an append has added; slafdb does not
    record it."""
    if state.dataset is None:
        return None
    notes = state.dataset.notes
    name = notes.get("source_column") if notes else "source_file"
    return name if name in state.frame("obs").columns else None


def _name(state: HandleState) -> str:
    return "handle" if state.dataset is None else state.dataset.path.rstrip("/").rsplit("/", 1)[-1]


def _fingerprint(state: HandleState) -> str | None:
    """The fingerprint of a whole dataset as it is stored."""
    if state.dataset is None or state.is_view or not state.is_whole or state.x is None:
        return None
    engine = state.dataset.engine
    if engine.version is None or not isinstance(state.x.source, StoredX) or state.x.steps:
        return None
    return f"{engine.uri} {engine.version}"


def _parts(state: HandleState) -> Parts:
    """Everything of a handle except X and raw. What is long is read while it is written."""
    arrays = {
        section: {key: state.copied_value(section, key) for key in state.held(section)}
        for section in ("varm", "obsp", "varp")
    }
    layers = state.held("layers").items()
    return Parts(
        obs=_Cells(state),
        var=whole(state.frame("var")),
        obsm={key: _of_cells(state, key) for key in state.held("obsm")},
        layers={key: _Rows(layer.at(*state.part), state.shape) for key, layer in layers},
        uns=deepcopy(dict(state.uns)),
        **arrays,
    )


class _Cells:
    """obs of a handle."""

    def __init__(self, state: HandleState):
        self._columns = state.columns("obs")
        self.index_name = self._columns.index(range(0)).name
        # Another writer does not say how pandas had its columns.
        self._ours = state.dataset is not None and state.dataset.version is not None

    def ids(self) -> Column:
        return _Range(len(self._columns), lambda rows: pd.Series(self._columns.index(rows)), True)

    def items(self) -> Iterator[tuple[str, Column | pd.Series]]:
        for name in self._columns.names:
            if self._ours and self._columns.known(name).dtype in NUMBERS:
                yield name, _Range(len(self._columns), partial(self._columns.read, name), False)
            else:
                yield name, self._columns.read(name)


#: Rows of a column that are read at a time.
_READ = 1 << 18


class _Range:
    """A column of a handle, read in ranges of rows."""

    def __init__(self, length: int, read: Callable[[range], pd.Series], is_text: bool):
        self._length, self._read, self.is_text = length, read, is_text
        self._held = range(0), pd.Series()

    def __len__(self) -> int:
        return self._length

    def rows(self, start: int, end: int) -> pd.Series:
        if end - start > _READ or start == end:
            return self._read(range(start, end)).reset_index(drop=True)
        held, series = self._held
        if start < held.start or end > held.stop:
            held = range(start, min(start + _READ, self._length))
            series = self._read(held)
            self._held = held, series
        return series.iloc[start - held.start : end - held.start].reset_index(drop=True)


class _Vectors(RowsInFile):
    """A stored array of obsm."""

    ndim = 2

    def __init__(self, reader: Reader, rows: Positions, dtype: str, width: int):
        self._reader, self._rows = reader, rows
        self.shape, self.dtype = (len(rows), width), np.dtype(dtype)

    def __getitem__(self, rows: slice | tuple[()]) -> np.ndarray:
        within = range(len(self._rows))[slice(None) if rows == () else rows]
        return self._reader(compose(self._rows, within))


def _of_cells(state: HandleState, key: str) -> Any:
    """An array of obsm, if possible without reading it."""
    reader = state.held("obsm")[key]
    if state.in_memory("obsm", key) is not None or not isinstance(reader, VectorReader):
        return state.copied_value("obsm", key)
    kind = reader.dataset.vectors(reader.table, reader.column)
    return _Vectors(reader, state.rows("obsm"), *kind)


class _Rows:
    """A matrix of a handle, read from storage in its stored type."""

    def __init__(self, x: MatrixPlan | None, shape: tuple[int, int]):
        self.shape, self._x = shape, x
        if x is None:
            self.note = {"dtype": "float32", "encoding": "absent", "absent": True}
        else:
            self.note = {"dtype": x.dtype.name, "encoding": "dense" if x.was_dense else "csr"}
        self.nnz = None if x is None else x.stored

    def blocks(self, start: int = 0) -> Iterator[Block]:
        height, width = self.shape
        if self._x is None:
            if height > start:
                empty = np.zeros(0, np.int32), np.zeros(0, np.float32)
                yield np.zeros(height - start + 1, np.int64), *empty
            return
        left = self._x.at(range(start, height), range(width))
        if left.steps or not isinstance(left.source, StoredX):
            for _, block in blocks_of(left):
                indptr, indices, data = csr_arrays(block)
                yield indptr.astype(np.int64), indices, data
            return
        step = rows_of_a_block(left, BLOCK_VALUES)
        for row in range(0, height - start, step):
            end = min(row + step, height - start)
            part = left.at(range(row, end), range(width))
            yield left.source.stored_csr(part.in_source(0), part.in_source(1))
