"""Sums and means of a matrix that is read one block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse


class LazySparseMixin:
    """Reductions for a class that has a `shape` and a method :meth:`blocks`."""

    #: The dataset of the matrix, if there is one.
    slaf_array: Any

    def __init__(self) -> None:
        pass

    @property
    def shape(self) -> tuple[int, int]:
        """Cells × genes.

        Raises
        ------
        NotImplementedError
            The class does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} must have a `shape`.")

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """Iterates over `(first row, block)` for all rows, in order; blocks are scipy
        matrices or arrays.

        Raises
        ------
        NotImplementedError
            The class does not define them.
        """
        raise NotImplementedError(f"{type(self).__name__} must have `blocks()`.")

    def sum(self, axis: int | None = None, fragments: bool | None = None) -> float | np.ndarray:
        """Sums in float64.

        Parameters
        ----------
        axis
            None for the sum of all values, a float; 0 for columns, 1 for rows, both 1-d
            arrays.
        fragments
            Accepted for compatibility with slafdb: the matrix is always read in blocks.

        Raises
        ------
        ValueError
            There is no such axis.
        """
        if axis not in (None, 0, 1):
            raise ValueError(f"A matrix has the axes 0 and 1, and not {axis!r}.")
        if axis == 1:
            parts = [sums(block, 1) for _, block in self.blocks()]
            return np.concatenate(parts) if parts else np.zeros(0)
        total = np.zeros(self.shape[1])
        for _, block in self.blocks():
            total += sums(block, 0)
        return total if axis == 0 else float(total.sum())

    def mean(self, axis: int | None = None, fragments: bool | None = None) -> float | np.ndarray:
        """Means in float64, in which zeros count. Parameters, result and errors as for
        :meth:`sum`. NaN if there are no values."""
        total = self.sum(axis)
        rows, columns = self.shape
        count = rows * columns if axis is None else (rows, columns)[axis]
        if count == 0:
            return float("nan") if axis is None else np.full_like(total, np.nan)
        return total / count


def sums(block: Any, axis: int) -> np.ndarray:
    """Sums of each column (0) or row (1) of a matrix in memory, in float64."""
    if not sparse.issparse(block):
        return np.asarray(block).sum(axis=axis, dtype=np.float64)
    # scipy sums float32 in float32.
    coo = block.tocoo()
    place = coo.col if axis == 0 else coo.row
    found = np.bincount(place, weights=coo.data, minlength=block.shape[1 - axis])
    return found.astype(np.float64, copy=False)
