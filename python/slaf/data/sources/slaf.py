"""Another SLAF dataset, or a part of one in any order, as a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from slaf.data.sources.base import BLOCK_VALUES, Block, Source
from slaf.lazy.export import to_adata
from slaf.lazy.reduce import csr_arrays
from slaf.lazy.sources import Stored
from slaf.lazy.stream import rows_of_a_block

if TYPE_CHECKING:
    import anndata

    from slaf.lazy.handle import LazyAnnData
    from slaf.lazy.matrix import LazyExpressionMatrix


def slaf_source(handle: LazyAnnData, *, name: str | None = None) -> Source:
    """The cells and genes of `handle`."""
    raw = handle.raw
    return Source(
        name=name or _name(handle),
        x=_Rows(handle),
        metadata=lambda: metadata_of(handle),
        first=lambda: to_adata(handle[:64], x=False, layers=False),
        fingerprint=_fingerprint(handle),
        raw=None if raw is None else slaf_source(raw),
        source_column=_source_column(handle),
    )


def _source_column(handle: LazyAnnData) -> str | None:
    """The column of obs that a conversion or an append has added. slafdb does not
    note it."""
    if handle.slaf is None:
        return None
    notes = handle.slaf._notes
    name = notes.get("source_column") if notes else "source_file"
    return name if name in handle.obs.columns else None


def _name(handle: LazyAnnData) -> str:
    return "handle" if handle.slaf is None else handle.slaf.slaf_path.rstrip("/").rsplit("/", 1)[-1]


def _fingerprint(handle: LazyAnnData) -> str | None:
    """Of a whole dataset as it is stored."""
    if handle.slaf is None or handle.is_view or not handle._is_whole or handle._x is None:
        return None
    dataset = handle.slaf._dataset
    if dataset.version is None or not isinstance(handle._x._source, Stored) or handle._x._steps:
        return None
    return f"{dataset.uri} {dataset.version}"


def metadata_of(handle: LazyAnnData) -> anndata.AnnData:
    """Everything of a handle but X and raw."""
    return to_adata(handle, x=False)


class _Rows:
    """X of a handle; from its storage, in the type that it is stored in."""

    def __init__(self, handle: LazyAnnData):
        self.shape = handle.shape
        self._x: LazyExpressionMatrix | None = handle._x
        x = self._x
        if x is None:
            self.note = {"dtype": "float32", "encoding": "absent", "absent": True}
        else:
            self.note = {"dtype": x.dtype.name, "encoding": "dense" if x._was_dense else "csr"}
        self.nnz = None if x is None else x._stored

    def blocks(self, start: int = 0) -> Iterator[Block]:
        height, width = self.shape
        if self._x is None:
            if height > start:
                empty = np.zeros(0, np.int32), np.zeros(0, np.float32)
                yield np.zeros(height - start + 1, np.int64), *empty
            return
        left = self._x._at(range(start, height), range(width))
        if left._steps or not isinstance(left._source, Stored):
            for _, block in left.blocks():
                indptr, indices, data = csr_arrays(block)
                yield indptr.astype(np.int64), indices, data
            return
        step = rows_of_a_block(left, BLOCK_VALUES)
        for row in range(0, height - start, step):
            end = min(row + step, height - start)
            part = left._at(range(row, end), range(width))
            yield left._source.stored_csr(part._of_base(0), part._of_base(1))
