"""Sums, minima, maxima and products of lazy matrices, streamed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from slaf import _slaf
from slaf.ground import axes
from slaf.ground.dtypes import engine_values, handed_out
from slaf.lazy.plan import MatrixPlan, OverMatrix, plan_of
from slaf.lazy.sources import StoredX
from slaf.lazy.steps import Arrays, Step
from slaf.lazy.stream import blocks_of
from slaf.lazy.tasks import Blocks, OfAllRows, states

#: If the squared deviations are a smaller fraction of the sum of squares than this, the
#: stored sum has lost too much precision for a variance, which is then computed from
#: the values.
_LOST = 1e-4


@dataclass
class Moments:
    """Moments of each column, of each row, or of everything; all arrays have the same
    shape."""

    #: Number of values behind each entry.
    count: int | np.ndarray
    nnz: np.ndarray
    total: np.ndarray
    #: Sum of squared deviations from the mean.
    squares: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    whole: bool = False

    def sum(self) -> Any:
        # Without values, the engine's sum is -0.0.
        return self._given(self.total + 0.0)

    def mean(self) -> Any:
        with np.errstate(invalid="ignore"):
            return self._given(self.total / self.count)

    def var(self, ddof: int = 0) -> Any:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._given(self.squares / np.maximum(np.subtract(self.count, ddof), 0))

    def min(self) -> Any:
        return self._given(self.least)

    def max(self) -> Any:
        return self._given(self.greatest)

    def nonzero(self) -> Any:
        return self._given(self.nnz.astype(np.int64))

    def flat(self) -> Moments:
        """The moments of the only group of rows, without the axis of groups."""
        values = (self.nnz, self.total, self.squares, self.least, self.greatest)
        return Moments(np.asarray(self.count).item(), *(x[0] for x in values))

    def _given(self, values: np.ndarray) -> Any:
        return values[0].item() if self.whole else values


def moments(matrix: MatrixPlan, axis: int | None, *, squares: bool = False) -> Moments:
    """Moments of each column (0), each row (1) or all values (None). With `squares`,
    including squared deviations.

    Raises
    ------
    ValueError
        There is no such axis.
    """
    if axis not in (None, 0, 1, -1, -2):
        raise ValueError(f"A matrix has the axes 0 and 1, not {axis}.")
    if axis is None:
        return _of_all(moments(matrix, 1, squares=True), matrix.shape)
    axis %= 2
    found = _stored_moments(matrix, axis, squares=squares)
    if found is not None:
        return found
    if axis == 1:
        return _of_rows(matrix)
    return grouped(matrix, None, 1)


def grouped(matrix: MatrixPlan, groups: np.ndarray | None, n_groups: int) -> Moments:
    """Moments of the columns for each group of rows (-1 for none): groups × columns, or
    one number per column without groups."""
    found = merged(states(matrix, _OfColumns(matrix.shape[1], groups, n_groups)))
    return found.flat() if groups is None else found


@dataclass(frozen=True)
class _OfColumns:
    """Moments of the columns, groups × columns."""

    width: int
    groups: np.ndarray | None
    n_groups: int

    def of_rows(self, rows: range) -> _OfColumns:
        if self.groups is None:
            return self
        return replace(self, groups=self.groups[rows.start : rows.stop])

    def __call__(self, blocks: Blocks) -> Moments:
        sums = _slaf.Moments(self.width, self.n_groups)
        for start, block in blocks:
            part = None
            if self.groups is not None:
                part = np.ascontiguousarray(self.groups[start : start + block.shape[0]], "i4")
            sums.add(csr_arrays(block), part)
        return finished(sums, self.width)


def finished(sums: Any, width: int) -> Moments:
    """The moments from the engine's sums of columns: groups × columns."""
    counts = np.asarray(sums.rows(), dtype=np.int64)
    return Moments(counts[:, None], *(x.reshape(len(counts), width) for x in sums.finish()))


def merged(parts: Iterable[Moments]) -> Moments:
    """Combines moments of the columns of consecutive rows, in order."""
    return functools.reduce(_joined, parts)


def _joined(a: Moments, b: Moments) -> Moments:
    """The moments of the rows of both, as in Chan, Golub and LeVeque (1979)."""
    n, m = np.asarray(a.count), np.asarray(b.count)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = b.total / m - a.total / n
        between = np.where((n > 0) & (m > 0), apart * apart * n * m / (n + m), 0.0)
    least, greatest = (
        np.where(n == 0, y, np.where(m == 0, x, extreme(x, y)))
        for extreme, x, y in ((np.minimum, a.least, b.least), (np.maximum, a.greatest, b.greatest))
    )
    squares = a.squares + (b.squares + between)
    return Moments(n + m, a.nnz + b.nnz, a.total + b.total, squares, least, greatest)


def above_zero(
    matrix: MatrixPlan, found: Moments, again: Callable[[MatrixPlan], Moments]
) -> np.ndarray:
    """How many values are above zero, which scanpy counts as expressed. `found` are the
    moments of the matrix; `again` computes those of another matrix."""
    if not (found.least < 0).any():
        return found.nonzero()
    signs = again(matrix.after(Step("sign"))).sum()
    return (found.nonzero() + signs.astype(np.int64)) // 2


def csr_arrays(block: Any) -> Arrays:
    """The CSR arrays of any block, in dtypes that the engine accepts."""
    block = sparse.csr_matrix(block)
    data = engine_values(block.data)
    return block.indptr, block.indices.astype(np.int32, copy=False), data


def _of_rows(matrix: MatrixPlan) -> Moments:
    return joined(states(matrix, _OfRows(matrix.shape[1])), matrix.shape[1])


@dataclass(frozen=True)
class _OfRows(OfAllRows):
    """Moments of each row."""

    width: int

    def __call__(self, blocks: Blocks) -> tuple[np.ndarray, ...]:
        return stacked([_slaf.row_moments(csr_arrays(block), self.width) for _, block in blocks])


def stacked(parts: list[Any]) -> tuple[np.ndarray, ...]:
    """The engine's moments of rows that came in parts."""
    if not parts:
        parts = [_slaf.row_moments((np.zeros(1, "i4"), np.zeros(0, "i4"), np.zeros(0)), 0)]
    return tuple(np.concatenate(same) for same in zip(*parts, strict=True))


def joined(parts: Iterable[Any], width: int) -> Moments:
    """Moments of rows that came in parts."""
    return Moments(width, *stacked(list(parts)))


def block_of(arrays: Arrays, width: int) -> sparse.csr_matrix:
    """A scipy matrix over CSR arrays."""
    indptr, indices, data = arrays
    return sparse.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, width), copy=False)


def _of_all(rows: Moments, shape: tuple[int, int]) -> Moments:
    count = shape[0] * shape[1]
    total = rows.total.sum()
    mean = total / count if count else np.nan
    with np.errstate(invalid="ignore"):
        apart = rows.total / max(1, shape[1]) - mean
    squares = rows.squares.sum() + shape[1] * np.square(apart).sum()
    some = count > 0
    return Moments(
        count,
        nnz=np.atleast_1d(rows.nnz.sum()),
        total=np.atleast_1d(total),
        squares=np.atleast_1d(squares),
        least=np.atleast_1d(rows.least.min() if some else np.nan),
        greatest=np.atleast_1d(rows.greatest.max() if some else np.nan),
        whole=True,
    )


def _stored_moments(matrix: MatrixPlan, axis: int, *, squares: bool) -> Moments | None:
    """Moments from the dataset's stored sums, if the matrix consists of whole rows or
    columns without steps."""
    source = matrix.source
    if matrix.steps or not isinstance(source, StoredX):
        return None
    if not axes.is_all(matrix.in_source(axis), source.shape[axis]):
        return None
    sums = source.sums(axis, "nnz", "total", "sum_of_squares", "min", "max")
    if sums is None:
        return None
    here = {name: axes.take(v, matrix.in_source(1 - axis)) for name, v in sums.items()}
    count = source.shape[axis]
    nnz, total = here["nnz"].astype(np.uint64), here["total"]
    second = here["sum_of_squares"]
    deviations = second - total * total / max(1, count)
    if squares and (deviations < _LOST * second).any():
        return None
    zeros = nnz < count
    least = np.where(zeros, np.minimum(here["min"], 0), here["min"])
    greatest = np.where(zeros, np.maximum(here["max"], 0), here["max"])
    if np.isnan(total).any():
        # NaN, or infinities of both signs: decided from the values.
        return None
    if count == 0:
        least, greatest = (np.full(len(total), np.nan) for _ in range(2))
    return Moments(count, nnz, total, deviations, least, greatest)


def times(matrix: MatrixPlan, other: Any) -> Any:
    """`matrix @ other`: sparse if `other` is, otherwise dense. Products of integers are
    int64, to avoid overflow."""
    other = _operand(other)
    if other.shape[0] != matrix.shape[1]:
        raise ValueError(f"{matrix.shape} @ {other.shape}: the shapes do not fit.")
    parts = [_wide(block, other) @ other for _, block in blocks_of(matrix)]
    if sparse.issparse(other):
        parts = [sparse.csr_matrix(part) for part in parts]
        return (
            sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, other.shape[1]))
        )
    if not parts:
        return np.zeros((0, *other.shape[1:]), np.result_type(matrix.dtype, other.dtype))
    return np.concatenate([np.asarray(part) for part in parts])


def times_from_left(other: Any, matrix: MatrixPlan) -> Any:
    """`other @ matrix`."""
    other = _operand(other)
    if other.shape[-1] != matrix.shape[0]:
        raise ValueError(f"{other.shape} @ {matrix.shape}: the shapes do not fit.")
    total: Any = None
    for start, block in blocks_of(matrix):
        part = (
            other[..., start : start + block.shape[0]]
            if other.ndim == 1
            else (other[:, start : start + block.shape[0]])
        )
        product = part @ _wide(block, other)
        total = product if total is None else total + product
    if total is None:
        return np.zeros((*other.shape[:-1], matrix.shape[1]), other.dtype)
    return total if sparse.issparse(total) else np.asarray(total)


def _operand(other: Any) -> Any:
    if isinstance(other, OverMatrix):
        return plan_of(other).compute()
    other = sparse.csr_matrix(other) if sparse.issparse(other) else np.asarray(other)
    if other.dtype.kind not in "biuf":
        return other
    return other.astype(handed_out(other.dtype), copy=False)


def _wide(block: Any, other: Any) -> Any:
    """A block as int64, if its product with `other` has integers."""
    whole = block.dtype.kind in "biu" and other.dtype.kind in "biu"
    return block.astype(np.int64) if whole and block.dtype != np.uint64 else block
