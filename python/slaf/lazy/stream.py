"""Reads a lazy matrix block by block: in limited memory, with the next blocks read while
one is processed, progress, and prompt interrupts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from scipy import sparse

from slaf.ground.progress import job
from slaf.ground.read_ahead import AT_ONCE, read_ahead
from slaf.lazy.plan import MatrixPlan

#: Approximate number of values per block.
BLOCK_VALUES = 2 << 20
#: Approximate number of values in a block of columns.
COLUMN_VALUES = 32 << 20
#: Blocks that are read while one is processed.
_AHEAD = min(4, AT_ONCE)
#: The minimum size of a row, for its entry in the row offsets.
_ROW = 8


def rows_of_a_block(matrix: MatrixPlan, values: int = BLOCK_VALUES) -> int:
    """The number of rows in a block with about `values` values."""
    rows, columns = matrix.source.shape
    width = matrix.shape[1]
    known = matrix.source.nnz
    if matrix.is_dense or known is None:
        a_row = width / (1 if matrix.is_dense else 8)
    else:
        a_row = known / max(1, rows) * (width / max(1, columns))
    return max(1, int(values / max(_ROW, a_row)))


def columns_of_a_block(matrix: MatrixPlan, values: int = COLUMN_VALUES) -> int:
    """The number of columns that together hold about `values` values."""
    rows, width = matrix.shape
    a_row = values / max(1, rows_of_a_block(matrix, values))
    return max(1, int(width * values / max(1.0, rows * a_row)))


def blocks_of(matrix: MatrixPlan, rows: int | None = None) -> Iterator[tuple[int, Any]]:
    """Iterates over `(first row, block)` for all rows, in order; by default in blocks
    with about `BLOCK_VALUES` values."""
    height = matrix.shape[0]
    rows = rows or rows_of_a_block(matrix)
    starts = range(0, height, rows)
    if len(starts) <= 1:
        with job("reading", height, "cell"):
            whole = [matrix.compute() for _ in starts]
        yield from enumerate(whole)
        return
    read = lambda start: matrix.at(  # noqa: E731
        range(start, min(start + rows, height)), range(matrix.shape[1])
    ).compute()
    blocks = read_ahead(read, starts, _AHEAD)
    with job("reading", height, "cell") as reading, closing(blocks):
        for start, block in zip(starts, blocks, strict=True):
            reading.bytes += _bytes(block)
            yield start, block
            reading(min(start + rows, height))


def _bytes(block: Any) -> int:
    parts = (block.data, block.indices, block.indptr) if sparse.issparse(block) else (block,)
    return sum(part.nbytes for part in parts)
