"""Another SLAF dataset, or some of its cells in any order, as a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from slaf.data.sources.base import BLOCK_VALUES, Block, Source
from slaf.lazy.export import to_adata
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.reduce import csr_arrays
from slaf.lazy.sources import StoredX
from slaf.lazy.state import HandleState
from slaf.lazy.stream import blocks_of, rows_of_a_block

if TYPE_CHECKING:
    import anndata


def slaf_source(state: HandleState, *, name: str | None = None) -> Source:
    """A source for the cells and genes of a handle."""
    raw = state.raw
    return Source(
        name=name or _name(state),
        x=_Rows(state),
        metadata=lambda: metadata_of(state),
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


def metadata_of(state: HandleState) -> anndata.AnnData:
    """Everything of a handle except X and raw."""
    return to_adata(state, x=False)


class _Rows:
    """X of a handle, read from storage in its stored type."""

    def __init__(self, state: HandleState):
        self.shape = state.shape
        self._x: MatrixPlan | None = state.x
        x = self._x
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
