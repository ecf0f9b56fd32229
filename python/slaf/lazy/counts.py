"""Totals and numbers of values per cell or gene. A dataset stores those of all its
values, so after a filter only the values that were filtered out are read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from slaf.ground import axes
from slaf.lazy import reduce
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sources import StoredX

#: Values that may be read, as a share of those of the matrix: reading all of them in
#: one pass is quicker than more.
_FEW = 0.5


class Counts(NamedTuple):
    """Of each column or row of a matrix."""

    #: float64
    total: np.ndarray
    #: Values that are not zero, int64.
    nonzero: np.ndarray


def counts(matrix: MatrixPlan, axis: int) -> Counts:
    """Those of each column (0) or row (1)."""
    found = known_counts(matrix, axis)
    if found is None:
        moments = reduce.moments(matrix, axis)
        found = Counts(moments.sum(), moments.nonzero())
    return found


def known_counts(matrix: MatrixPlan, axis: int) -> Counts | None:
    """The same without a pass over the matrix; None if that is not possible."""
    found = reduce.kept(matrix, axis, squares=False)
    if found is not None:
        return Counts(found.sum(), found.nonzero())
    source = matrix.source
    # Sums of integers have no rounding errors that a difference would show.
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
    out = reduce.moments(MatrixPlan.of(source).at(*part), axis)
    total = axes.take(stored["total"], others) - out.sum()
    return Counts(total, axes.take(stored["nnz"], others).astype(np.int64) - out.nonzero())


def _complement(selected: axes.Positions, length: int) -> np.ndarray | None:
    """The positions that are not selected; None if one is selected twice."""
    times = np.zeros(length, dtype=np.int64)
    np.add.at(times, np.asarray(selected, dtype=np.int64), 1)
    return None if (times > 1).any() else np.flatnonzero(times == 0)
