"""Matrices, arrays and graphs of several handles, joined along the cells and read on
demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf.ground import axes
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.state import HandleState
from slaf.lazy.steps import Arrays


class Starts:
    """The first row of each part in the whole."""

    def __init__(self, lengths: list[int]):
        self.at = np.cumsum([0, *lengths])

    def owners(self, rows: axes.Positions) -> Iterator[tuple[int, np.ndarray, axes.Positions]]:
        """For each part that contains some of `rows`: its number, which of `rows` these
        are, and their positions in the part."""
        wanted = np.asarray(rows, dtype=np.int64)
        owner = np.searchsorted(self.at, wanted, side="right") - 1
        for number in np.unique(owner):
            places = np.flatnonzero(owner == number)
            yield int(number), places, _as_range(wanted[places] - self.at[number])


class Stacked:
    """Lazy matrices joined along the rows. For each of them, `columns` has the
    positions of the whole's columns in it; -1 if it does not have the column, whose
    values are then `fill`."""

    def __init__(
        self,
        parts: list[MatrixPlan],
        columns: list[np.ndarray],
        dtype: np.dtype,
        fill: Any = 0,
    ):
        self.parts, self.columns, self.dtype, self.fill = parts, columns, np.dtype(dtype), fill
        self.starts = Starts([part.shape[0] for part in parts])
        self.shape = (int(self.starts.at[-1]), len(columns[0]))
        known = [self._stored(part, at) for part, at in zip(parts, columns, strict=True)]
        self.nnz = None if None in known else sum(known)

    def _stored(self, part: MatrixPlan, places: np.ndarray) -> int | None:
        filled = self.fill != 0 and (places < 0).any()
        complete = np.count_nonzero(places >= 0) == part.shape[1]
        return part.stored if complete and not filled else None

    def csr(self, rows: axes.Positions, columns: axes.Positions) -> Arrays:
        blocks, order = [], []
        for number, places, inside in self.starts.owners(rows):
            blocks.append(self._part(number, inside, columns))
            order.append(places)
        if not blocks:
            whole = sparse.csr_matrix((0, len(columns)), dtype=self.dtype)
        else:
            whole = blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")
        back = np.argsort(np.concatenate(order)) if order else np.zeros(0, np.int64)
        if not np.array_equal(back, np.arange(len(back))):
            whole = whole[back]
        data = whole.data.astype(self.dtype, copy=False)
        return whole.indptr, whole.indices.astype(np.int32, copy=False), data

    def _part(
        self, number: int, rows: axes.Positions, columns: axes.Positions
    ) -> sparse.csr_matrix:
        taken = axes.take(self.columns[number], columns)
        present = np.flatnonzero(taken >= 0)
        inside = self.parts[number].at(rows, _as_range(taken[present])).compute()
        inside = sparse.csr_matrix(inside)
        indices = present.astype(np.int32)[inside.indices]
        shape = len(rows), len(taken)
        data = inside.data.astype(self.dtype, copy=False)
        part = sparse.csr_matrix((data, indices, inside.indptr), shape, copy=False)
        if self.fill == 0 or len(present) == len(taken):
            return part
        absent = np.flatnonzero(taken < 0).astype(np.int32)
        filled = sparse.csr_matrix(
            (
                np.full(len(rows) * len(absent), self.fill, self.dtype),
                np.tile(absent, len(rows)),
                np.arange(len(rows) + 1) * len(absent),
            ),
            shape,
        )
        return part + filled


class StackedVectors:
    """Reads rows of number arrays joined along the rows, with `width` columns; `fill`
    replaces columns or arrays that are missing."""

    def __init__(
        self,
        states: list[HandleState],
        key: str,
        width: int,
        dtype: np.dtype,
        fill: Any,
    ):
        self.states, self.key = states, key
        self.width, self.dtype, self.fill = width, dtype, fill
        self.starts = Starts([state.shape[0] for state in states])

    def __call__(self, rows: axes.Positions) -> np.ndarray:
        out = np.full((len(rows), self.width), self.fill, self.dtype)
        for number, places, inside in self.starts.owners(rows):
            found = self.states[number].at(inside, range(0))
            if self.key in found.held("obsm"):
                part = found.value("obsm", self.key)[:, : self.width]
                out[places, : part.shape[1]] = part
        return out


class Joined:
    """The result of anndata's join in memory, computed on first use."""

    def __init__(self, states: list[HandleState], key: str, join: str, fill_value: Any):
        self.states, self.key = states, key
        self.options = {"join": join, "fill_value": fill_value}
        self.value: Any = None

    def __call__(self, rows: axes.Positions) -> Any:
        if self.value is None:
            self.value = self._joined()
        return axes.take(self.value, rows)

    def _joined(self) -> Any:
        import anndata

        parts, start = [], 0
        for state in self.states:
            index = pd.RangeIndex(start, start + state.shape[0]).astype(str)
            start += state.shape[0]
            part = anndata.AnnData(obs=pd.DataFrame(index=index))
            if self.key in state.held("obsm"):
                value = state.value("obsm", self.key)
                frame = isinstance(value, pd.DataFrame)
                part.obsm[self.key] = value.set_axis(index) if frame else value
            parts.append(part)
        return anndata.concat(parts, **self.options).obsm[self.key]


class Diagonal:
    """Reads some cells of graphs; there are no edges between handles."""

    def __init__(self, states: list[HandleState], key: str, dtype: np.dtype):
        self.states, self.key, self.dtype = states, key, dtype
        self.starts = Starts([state.shape[0] for state in states])

    def __call__(self, rows: axes.Positions) -> sparse.csr_matrix:
        edges = [(np.zeros(0, self.dtype), np.zeros(0, np.int64), np.zeros(0, np.int64))]
        for number, places, inside in self.starts.owners(rows):
            found = self.states[number].at(inside, range(0))
            if self.key in found.held("obsp"):
                block = sparse.coo_matrix(found.value("obsp", self.key))
                edges.append((block.data, places[block.row], places[block.col]))
        data, row, column = (np.concatenate(parts) for parts in zip(*edges, strict=True))
        shape = (len(rows), len(rows))
        return sparse.csr_matrix((data.astype(self.dtype, copy=False), (row, column)), shape)


def _as_range(positions: np.ndarray) -> axes.Positions:
    first = positions[0] if len(positions) else 0
    if np.array_equal(positions, np.arange(first, first + len(positions))):
        return range(int(first), int(first) + len(positions))
    return positions
