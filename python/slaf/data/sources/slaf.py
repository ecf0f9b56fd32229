"""Another SLAF dataset, or a part of one in any order, as a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from slaf.data.sources.base import BLOCK_VALUES, Block, Source

if TYPE_CHECKING:
    import anndata

    from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix


def slaf_source(handle: LazyAnnData, *, name: str | None = None) -> Source:
    """The cells and genes of `handle`."""
    dataset = handle.slaf._dataset
    raw = handle.raw
    return Source(
        name=name or handle.slaf.slaf_path.rstrip("/").rsplit("/", 1)[-1],
        x=_Rows(handle),
        metadata=lambda: metadata_of(handle),
        fingerprint=f"{dataset.uri} {dataset.version} {handle._cells!r} {handle._genes!r}"
        if dataset.version is not None and not handle.is_view
        else None,
        raw=None if raw is None else slaf_source(raw),
    )


def metadata_of(handle: LazyAnnData) -> anndata.AnnData:
    """Everything of a handle but X and raw."""
    return handle._to_adata(x=False)


class _Rows:
    """X of a handle, from its storage."""

    def __init__(self, handle: LazyAnnData):
        array = handle.slaf
        self.shape = handle.shape
        noted = array._notes.get("x") or {}
        self.note = {"encoding": "csr", **noted, "dtype": array._x_dtype.name}
        self._x: LazyExpressionMatrix | None = handle.X
        self._a_row = array._dataset.nnz // max(1, array.shape[0])
        self.nnz = None if handle.is_view else array._dataset.nnz

    def blocks(self, start: int = 0) -> Iterator[Block]:
        height = self.shape[0]
        if self._x is None:
            if height > start:
                empty = np.zeros(0, np.int32), np.zeros(0, np.float32)
                yield np.zeros(height - start + 1, np.int64), *empty
            return
        step = max(1, BLOCK_VALUES // max(1, self._a_row))
        for row in range(start, height, step):
            block = self._x[row : row + step]._stored_values()
            yield block
