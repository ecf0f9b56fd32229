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
    source = matrix.source
    if matrix.steps or not isinstance(source, StoredX):
        return None
    selected, others = matrix.in_source(axis), matrix.in_source(1 - axis)
    whole = axes.is_all(selected, source.shape[axis])
    # Only sums of integers can be subtracted without rounding errors.
    if not (whole or source.is_unsigned):
        return None
    left_out = np.zeros(0, dtype=np.int64) if whole else _complement(selected, source.shape[axis])
    stored = source.sums(axis, "nnz", "total")
    if stored is None or left_out is None:
        return None
    total, nonzero = (axes.take(stored[name], others) for name in ("total", "nnz"))
    found = Counts(total, nonzero.astype(np.int64))
    if len(left_out):
        values = source.sums(1 - axis, "nnz")["nnz"]
        few = values[left_out].sum()
        if few > _FEW * values.sum():
            return None
        part = (left_out, others) if axis == 0 else (others, left_out)
        out = _read(MatrixPlan.of(source).at(*part), axis, few)
        found = Counts(found.total - out.total, found.nonzero - out.nonzero)
    # NaN, or infinities of both signs: decided from the values.
    return None if np.isnan(found.total).any() else found


def _read(matrix: MatrixPlan, axis: int, n_values: int) -> Counts:
    if n_values > COLUMN_VALUES:
        return Counts.of(reduce.moments(matrix, axis))
    # In one read: few genes of all cells are stored close together.
    block = matrix.compute()
    total = np.asarray(block.sum(axis=axis, dtype=np.float64)).ravel()
    return Counts(total, np.asarray((block != 0).sum(axis=axis)).ravel().astype(np.int64))


def _complement(selected: axes.Positions, length: int) -> np.ndarray | None:
    """The positions that are not selected; None if a position is selected twice."""
    left = np.ones(length, dtype=bool)
    left[np.asarray(selected, dtype=np.int64)] = False
    found = np.flatnonzero(left)
    return found if len(found) + len(selected) == length else None
