"""Reads the positions and values of a matrix block by block, and only as many as are
requested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from slaf.ground import axes
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sources import StoredX
from slaf.lazy.stream import BLOCK_VALUES, blocks_of, rows_of_a_block

#: Number of values per block when only some genes are read. It is larger than for whole
#: cells, because each block reads these genes again.
_VALUES_OF_GENES = 4 * BLOCK_VALUES


@dataclass
class Places:
    """Rows and columns of a matrix, and the values there. Each is None if it was not
    requested."""

    cell: np.ndarray
    gene: np.ndarray | None = None
    value: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.cell)

    def take(self, at: Any) -> Places:
        parts = (self.cell, self.gene, self.value)
        return Places(*(None if part is None else part[at] for part in parts))

    def head(self, n: int) -> Places:
        return self if len(self) <= n else self.take(slice(n))


def blocks(matrix: MatrixPlan, values: bool, genes: bool, n_rows: int | None) -> Iterator[Places]:
    """All stored values of `matrix`, row by row; if it has become dense, all values.
    Stops when about `n_rows` rows are reached. `values` and `genes` say whether those
    are needed."""
    counts = None if values else _counts(matrix)
    if counts is not None and not genes:
        yield from _counted(counts)
    elif counts is not None and (first := _whole_rows(matrix)) is not None:
        yield from _gene_ids(matrix, counts, first)
    else:
        for start, block in _read(matrix, n_rows):
            yield _places(start, block)


def described(matrix: MatrixPlan, values: bool, genes: bool, n_rows: int | None) -> str:
    """A description of what :func:`blocks` would read."""
    rows, columns = matrix.shape
    if 0 in matrix.shape:
        return "nothing"
    counts = None if values else _counts(matrix)
    if counts is not None and not genes:
        return "no values; how many a cell has is known"
    source = matrix.source
    if not isinstance(source, StoredX):
        return f"the values of {rows:,} × {columns:,}"
    if n_rows is not None:
        return f"rows of expression until there are {n_rows:,}"
    by_cell, by_gene = int(_lengths(matrix).sum()), _of_genes(matrix)
    gene_major, _ = source.dataset.engine.companions()
    if gene_major and by_gene is not None and by_gene < by_cell:
        return f"about {by_gene:,} of {source.nnz:,} rows of expression_by_gene"
    only = "gene_integer_id of " if counts is not None and _whole_rows(matrix) is not None else ""
    return f"{only}about {by_cell:,} of {source.nnz:,} rows of expression"


def _places(start: int, block: Any) -> Places:
    height, width = block.shape
    if not sparse.issparse(block):
        cell = np.repeat(np.arange(start, start + height), width)
        return Places(cell, np.tile(np.arange(width), height), block.ravel())
    cell = np.repeat(np.arange(start, start + height), np.diff(block.indptr))
    return Places(cell, block.indices, block.data)


def _read(matrix: MatrixPlan, n_rows: int | None) -> Iterator[tuple[int, Any]]:
    height, width = matrix.shape
    full = _rows_of_a_block(matrix)
    done = 0
    if n_rows is not None:
        # Few rows at first, then more and more, because the number of values in the first
        # cells is not known.
        rows = max(1, int(n_rows * full / BLOCK_VALUES))
        while rows < full and done < height:
            end = min(done + rows, height)
            yield done, matrix.at(range(done, end), range(width)).compute()
            done, rows = end, rows * 4
    if done < height:
        rest = matrix.at(range(done, height), range(width)) if done else matrix
        for start, block in blocks_of(rest, full):
            yield done + start, block


def _rows_of_a_block(matrix: MatrixPlan) -> int:
    rows, expected = rows_of_a_block(matrix), _of_genes(matrix)
    if expected is None:
        return rows
    return max(rows, int(matrix.shape[0] * (_VALUES_OF_GENES / max(1, expected))))


def _of_genes(matrix: MatrixPlan) -> int | None:
    """The approximate number of values of some genes in these cells; None for all
    genes, or if it is not stored."""
    genes, source = matrix.in_source(1), matrix.source
    if matrix.is_dense or not isinstance(source, StoredX) or axes.is_all(genes, source.shape[1]):
        return None
    sums = source.sums(0, "nnz")
    return None if sums is None else int(axes.take(sums["nnz"], genes).sum(dtype=np.int64))


def _counts(matrix: MatrixPlan) -> np.ndarray | None:
    """The number of values in each row, if it is known without reading them."""
    if matrix.is_dense:
        return np.full(matrix.shape[0], matrix.shape[1])
    genes, source = matrix.in_source(1), matrix.source
    known = isinstance(source, StoredX) and axes.is_all(genes, source.shape[1])
    return _lengths(matrix) if known else None


def _lengths(matrix: MatrixPlan) -> np.ndarray:
    return axes.take(np.diff(matrix.dataset.row_starts), matrix.in_source(0))


def _counted(counts: np.ndarray) -> Iterator[Places]:
    for start, end in _runs(counts):
        yield Places(np.repeat(np.arange(start, end), counts[start:end]))


def _whole_rows(matrix: MatrixPlan) -> int | None:
    """The first row of `matrix` in the table, if its rows are consecutive there."""
    rows, dataset = matrix.in_source(0), matrix.dataset
    plain = isinstance(matrix.source, StoredX) and isinstance(rows, range) and rows.step == 1
    if not plain or matrix.is_dense or dataset.engine.defect() is not None:
        return None
    return int(dataset.row_starts[rows.start])


def _gene_ids(matrix: MatrixPlan, counts: np.ndarray, first: int) -> Iterator[Places]:
    """Only the positions; the column of values is not read."""
    engine = matrix.dataset.engine
    for start, end in _runs(counts):
        n = int(counts[start:end].sum())
        table = pa.table(engine.read("expression", ["gene_integer_id"], (first, 1, n)))
        gene = table.column(0).to_numpy().astype(np.int64)
        cell = np.repeat(np.arange(start, end), counts[start:end])
        if ((gene[1:] <= gene[:-1]) & (cell[1:] == cell[:-1])).any():
            gene = gene[np.lexsort((gene, cell))]
        yield Places(cell, gene)
        first += n


def _runs(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows that form blocks."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + BLOCK_VALUES, side="right")))
        yield start, end
        start = end
