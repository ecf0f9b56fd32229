"""Writes rows of Ray Data as a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from slaf.data.converter import refuse_existing
from slaf.data.lazy_frames import sink
from slaf.lazy.scan import registered
from slaf.lazy.scan.source import Source

if TYPE_CHECKING:
    import ray


def write_slaf(rows: ray.data.Dataset, path: str | os.PathLike[str], **options: Any) -> None:
    """Writes a `ray.data.Dataset` with one row per stored value as the dataset `path`. This
    process writes, so a repeated task has no effect, and if writing fails, no dataset is
    left.

    `rows` is executed once, in its order, and Ray holds the result until it is written.
    `options` and errors are those of :func:`slaf.sink`: `cell`, `gene`, `value`, `obs`,
    `var`, `overwrite`, `storage_options`.
    """
    overwrite = options.get("overwrite", False)
    refuse_existing(os.fspath(path), overwrite, options.get("storage_options"))
    # The dataset has its cells and genes in the order of the rows.
    how = rows.context.execution_options
    as_told, how.preserve_order = how.preserve_order, True
    try:
        held = rows.materialize()
    finally:
        how.preserve_order = as_told
    sink(registered(_Rows(held)), path, **options)


class _Rows(Source):
    title = "rows of Ray Data"

    def __init__(self, rows: ray.data.Dataset):
        self._rows = rows
        self.schema = dict(next(self._frames(), pl.DataFrame()).schema)

    def _frames(self) -> Iterator[pl.DataFrame]:
        for batch in self._rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield pl.DataFrame(batch)

    def batches(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in self._frames():
            if n_rows is not None:
                frame = frame.head(n_rows)
                n_rows -= frame.height
            yield (frame if predicate is None else frame.filter(predicate)).select(columns)

    def described(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> list[str]:
        return [f"{', '.join(columns)} of all rows"]
