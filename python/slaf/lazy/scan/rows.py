"""A table with one row per cell (or gene)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from slaf.ground import axes
from slaf.lazy.scan.axis_columns import Axis
from slaf.lazy.scan.predicate import kept, needed
from slaf.lazy.scan.source import Source

#: Rows that are read at a time.
_BLOCK = 1 << 20


class Rows(Source):
    """Columns of cells (or genes). The columns of a filter are read first, and the
    others for the remaining rows."""

    def __init__(self, title: str, axis: Axis):
        self.title, self.axis, self.schema = title, axis, axis.schema()

    def batches(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        parts = [] if predicate is None else [predicate]
        length = self.axis.length if n_rows is None else min(n_rows, self.axis.length)
        for start in range(0, max(length, 1), _BLOCK):
            rows = range(start, min(start + _BLOCK, length))
            yield self._block(columns, parts, rows)

    def _block(self, columns: list[str], parts: list[pl.Expr], rows: range) -> pl.DataFrame:
        if not parts:
            return self.axis.frame(columns, rows)
        first_columns = needed(parts) or [self.axis.id_name]
        first = self.axis.frame(first_columns, rows)
        left = kept(first, parts).to_numpy()
        others = [name for name in columns if name not in first_columns]
        found = first[left]
        if others:
            at = axes.compose(rows, axes.compact(left.astype(np.int64)))
            found = pl.concat([found, self.axis.frame(others, at)], how="horizontal")
        return found.select(columns)

    def described(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> list[str]:
        length = self.axis.length if n_rows is None else min(n_rows, self.axis.length)
        left = length
        if predicate is not None:
            first = self.axis.frame(needed([predicate]) or [self.axis.id_name], range(length))
            left = len(kept(first, [predicate]))
        lines = [f"columns: {', '.join(columns)}"]
        if predicate is not None:
            lines.append(f"filter, before other columns are read: {predicate}")
        return [*lines, f"rows: {left:,} of {self.axis.length:,}"]
