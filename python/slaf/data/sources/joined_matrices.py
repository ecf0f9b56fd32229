"""Joins matrices of several inputs, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import numpy as np

from slaf._slaf import SlafError
from slaf.data.sources.base import Block, Matrix


class Aligned:
    """A matrix whose gene `i` is gene `positions[i]` of `width`; -1 leaves it out."""

    def __init__(self, x: Matrix, positions: np.ndarray, width: int, name: str):
        self.name = name
        self.shape, self.note, self.x = (x.shape[0], width), x.note, x
        self.positions = positions.astype(np.int32)
        kept = positions[positions >= 0]
        self._all = len(kept) == len(positions)
        self._ascending = bool((np.diff(kept) > 0).all())
        self._same = self._all and bool((kept == np.arange(len(kept))).all())
        self.nnz = x.nnz if self._all else None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for block in self.x.blocks(start):
            yield block if self._same else self._aligned(*block)

    def _aligned(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> Block:
        bound = len(self.positions)
        if len(indices) and (indices.min() < 0 or indices.max() >= bound):
            raise SlafError(
                f"`{self.name}` is damaged: a value of X belongs to none of the {bound} genes. "
                "Copy the file again."
            )
        indptr, genes = indptr - indptr[0], self.positions[indices]
        if not self._all:
            kept = genes >= 0
            behind = np.concatenate(([0], np.cumsum(kept)))
            indptr, genes, data = behind[indptr], genes[kept], data[kept]
        if not self._ascending:
            row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
            if ((row[1:] == row[:-1]) & (genes[1:] < genes[:-1])).any():
                order = np.lexsort((genes, row))
                genes, data = genes[order], data[order]
        return indptr, genes, data


class Below:
    """Matrices joined along the rows."""

    def __init__(self, parts: list[Matrix], width: int):
        self.parts = parts
        heights = [part.shape[0] for part in parts]
        self.shape = (sum(heights), width)
        dtype = np.result_type(*(np.dtype(part.note["dtype"]) for part in parts))
        self.note = {"dtype": dtype.name, "encoding": "csr"}
        stored = [part.nnz for part in parts]
        self.nnz = None if None in stored else sum(stored)
        starts = accumulate(heights, initial=0)
        #: The end row of each input, which may itself be several.
        self.ends = [
            start + end
            for part, start in zip(parts, starts, strict=False)
            for end in (*getattr(getattr(part, "x", part), "ends", ()), part.shape[0])
        ]

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for part in self.parts:
            if start < part.shape[0]:
                yield from part.blocks(max(start, 0))
            start -= part.shape[0]


class Stacked(Below):
    """The joined matrices of all inputs; the genes of each are at `positions` of
    `width`."""

    def __init__(
        self, matrices: list[Matrix], positions: list[np.ndarray], width: int, names: list[str]
    ):
        every = zip(matrices, positions, names, strict=True)
        super().__init__([Aligned(x, places, width, name) for x, places, name in every], width)
        absent = [x.note["encoding"] == "absent" for x in matrices]
        if all(absent):
            self.note = dict(matrices[0].note)
        elif any(absent):
            raise SlafError(
                f"`{names[absent.index(True)]}` has no X, and other files have one. "
                "Leave it out or give it an X."
            )


class Shifted:
    """A matrix shifted to the right by some columns, in `width` columns."""

    def __init__(self, x: Matrix, by: int, width: int):
        self.x, self.by = x, by
        self.shape, self.note, self.nnz = (x.shape[0], width), x.note, x.nnz

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for indptr, indices, data in self.x.blocks(start):
            yield indptr, indices.astype(np.int64) + self.by, data


def diagonal(matrices: list[Matrix]) -> Below:
    """Square matrices joined along the diagonal."""
    ends = list(accumulate((x.shape[0] for x in matrices), initial=0))
    shifted = [Shifted(x, by, ends[-1]) for x, by in zip(matrices, ends, strict=False)]
    return Below(shifted, ends[-1])
