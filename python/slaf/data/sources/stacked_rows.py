"""Joins the vectors of cells of several inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from slaf.ground.metadata import is_vector


def spans(ends: Sequence[int], start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The rows `start` to `end` of parts, one below the other, of which each ends before
    the row in `ends`: the number of a part, and the first row in it and the one after the last."""
    first = 0
    for number, last in enumerate(ends):
        if max(start, first) < min(end, last):
            yield number, max(start, first) - first, min(end, last) - first
        first = last


class RowsInFile:
    """An array that is read when its rows are sliced."""


class StackedRows(RowsInFile):
    """Arrays of the same width and dtype, one below the other. They stay where they are
    until their rows are read."""

    ndim = 2

    def __init__(self, parts: Sequence[Any]):
        self._parts = parts
        self._ends = [*accumulate(part.shape[0] for part in parts)]
        self.shape = (self._ends[-1], parts[0].shape[1])
        self.dtype = parts[0].dtype

    def __getitem__(self, rows: slice | tuple[()]) -> np.ndarray:
        start, end, _ = (slice(None) if rows == () else rows).indices(self.shape[0])
        found = [np.empty((0, self.shape[1]), self.dtype)]
        found += [self._parts[n][first:last] for n, first, last in spans(self._ends, start, end)]
        return np.concatenate(found)


def stacked_vectors(sections: Sequence[Mapping[str, Any]]) -> dict[str, StackedRows]:
    """The arrays of obsm that can be a column of `cells`, and are alike in all inputs."""
    stacked = {}
    for key in sections[0]:
        arrays = [section.get(key) for section in sections]
        if all(map(is_vector, arrays)) and len({(a.dtype, a.shape[1]) for a in arrays}) == 1:
            stacked[key] = StackedRows(arrays)
    return stacked
