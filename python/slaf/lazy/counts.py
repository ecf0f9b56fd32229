"""Totals and numbers of values per cell or gene. A dataset stores those of all its
values. After a filter, only the values that were filtered out are read and subtracted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from slaf.ground import axes
from slaf.lazy import reduce
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sources import StoredX
from slaf.lazy.stream import COLUMN_VALUES

#: The greatest share of the values that is read and subtracted. Above it, a pass over the
#: filtered matrix is faster.
_FEW = 0.5


class Counts(NamedTuple):
    """The total and the number of values of each column or row of a matrix."""

    #: float64
    total: np.ndarray
    #: Values that are not zero, int64.
    nonzero: np.ndarray

    @classmethod
    def of(cls, moments: reduce.Moments) -> Counts:
        return cls(moments.sum(), moments.nonzero())


def counts(matrix: MatrixPlan, axis: int) -> Counts:
    """The counts of each column (0) or row (1)."""
    found = known_counts(matrix, axis)
    return Counts.of(reduce.moments(matrix, axis)) if found is None else found


def known_counts(matrix: MatrixPlan, axis: int) -> Counts | None:
    """The counts without a pass over the matrix; None if that is not possible."""
    found = reduce.kept(matrix, axis, squares=False)
    if found is not None:
        return Counts.of(found)
    source = matrix.source
    # Only sums of integers can be subtracted without rounding errors.
    if matrix.steps or not isinstance(source, StoredX) or not source.is_unsigned:
        return None
    stored, of_others = source.sums(axis), source.sums(1 - axis)
    left_out = _complement(matrix.in_source(axis), source.shape[axis])
    if stored is None or of_others is None or left_out is None:
        return None
    values = of_others["nnz"]
    if values[left_out].sum() > _FEW * values.sum():
        return None
    others = matrix.in_source(1 - axis)
    part = (left_out, others) if axis == 0 else (others, left_out)
    out = _read(MatrixPlan.of(source).at(*part), axis, values[left_out].sum())
    total = axes.take(stored["total"], others) - out.total
    return Counts(total, axes.take(stored["nnz"], others).astype(np.int64) - out.nonzero)


def _read(matrix: MatrixPlan, axis: int, n_values: int) -> Counts:
    if n_values > COLUMN_VALUES:
        return Counts.of(reduce.moments(matrix, axis))
    # In one read: few genes of all cells are stored close together.
    block = matrix.compute()
    total = np.asarray(block.sum(axis=axis, dtype=np.float64)).ravel()
    return Counts(total, np.asarray((block != 0).sum(axis=axis)).ravel().astype(np.int64))


def _complement(selected: axes.Positions, length: int) -> np.ndarray | None:
    """The positions that are not selected; None if a position is selected twice."""
    times = np.zeros(length, dtype=np.int64)
    np.add.at(times, np.asarray(selected, dtype=np.int64), 1)
    return None if (times > 1).any() else np.flatnonzero(times == 0)
