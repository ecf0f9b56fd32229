"""Medians of groups of rows, computed for a few columns at a time."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from slaf.lazy.plan import MatrixPlan
from slaf.lazy.stream import columns_of_a_block
from slaf.pp.groups import Grouping


def medians(matrix: MatrixPlan, groups: Grouping) -> np.ndarray:
    """Groups × columns, float64. NaN where a group has a NaN."""
    width = matrix.shape[1]
    out = np.zeros((len(groups), width))
    step = columns_of_a_block(matrix)
    for start in range(0, width, step):
        block = sparse.csc_matrix(matrix[:, start : start + step].compute("csc"))
        out[:, start : start + step] = _of_block(block, groups)
    return out


def _of_block(block: sparse.csc_matrix, groups: Grouping) -> np.ndarray:
    """Only stored values are sorted; the zeros stand between the negative and the positive
    ones."""
    n, width = len(groups), block.shape[1]
    group = groups.of_row[block.indices]
    inside = group >= 0
    column = np.repeat(np.arange(width), np.diff(block.indptr))[inside]
    key, values = group[inside].astype(np.int64) * width + column, block.data[inside]
    order = np.lexsort((values, key))
    key, values = key[order], values[order]
    stored = np.bincount(key, minlength=n * width)
    below = np.bincount(key[values < 0], minlength=n * width)
    missing = np.bincount(key[np.isnan(values)], minlength=n * width)
    first = np.cumsum(stored) - stored
    size = np.repeat(groups.sizes, width)
    zeros = size - stored

    def at(rank: np.ndarray) -> np.ndarray:
        """The value at position `rank` among the sorted values, for each group and column."""
        zero = (rank >= below) & (rank < below + zeros)
        place = np.where(rank < below, rank, rank - zeros)
        found = np.zeros(n * width)
        found[~zero] = values[(first + place)[~zero]]
        return found

    middle = (at((size - 1) // 2) + at(size // 2)) / 2
    return np.where(missing > 0, np.nan, middle).reshape(n, width)
