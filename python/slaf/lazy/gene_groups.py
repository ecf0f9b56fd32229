"""Sums of groups of cells, gene by gene, for tests of differences between groups.

They are read from the gene-major copy if there is one. Each task computes some genes, on
all cores. The sums of a gene depend only on its values, so they are the same to the last
bit in tasks of any size."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from scipy import sparse

from slaf import _slaf
from slaf.ground import axes
from slaf.ground.dtypes import engine_values
from slaf.ground.progress import job
from slaf.ground.workers import current, each
from slaf.lazy import reduce
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sources import StoredX
from slaf.lazy.steps import for_engine
from slaf.lazy.stream import columns_of_a_block

#: Maximum number of groups × genes per task.
_OUTPUTS = 8 << 20
#: Tasks in this process are this many times larger, because each of them first computes
#: the factors of all cells.
_STREAMED = 4


@dataclass(frozen=True)
class Wanted:
    """The sums to compute besides totals."""

    nonzero: bool = False
    squares: bool = False
    ranks: bool = False
    #: The group with which each other group is ranked; -1 ranks all cells that have a
    #: group together.
    reference: int = -1


@dataclass(frozen=True)
class GroupSums:
    """Sums of groups × genes; None where they are not wanted."""

    totals: np.ndarray
    #: uint32
    nonzero: np.ndarray | None
    #: Squared deviations from the mean of the group, float64.
    squares: np.ndarray | None
    #: Sums of ranks, which count from 1; tied values have their mean rank.
    ranks: np.ndarray | None
    #: t³ - t, summed over the ties of t values: 1 × genes, or groups × genes with a reference.
    ties: np.ndarray | None


def group_sums(matrix: MatrixPlan, groups: np.ndarray, n: int, wanted: Wanted) -> GroupSums:
    """The sums of each of `n` groups; `groups` has the group of each cell, or -1."""
    height, width = matrix.shape
    # Each task gets the groups of all cells.
    groups = groups.astype(np.min_scalar_type(-n))
    streamed = _is_by_gene(matrix)
    if not (streamed or wanted.ranks) and n * width <= _OUTPUTS:
        found = reduce.grouped(matrix, groups, n)
        return GroupSums(found.total, found.nnz, found.squares, None, None)
    step, order = columns_of_a_block(matrix), np.arange(width)
    if streamed:
        # The genes are read in the order of the copy.
        order = np.argsort(np.asarray(matrix.in_source(1)))
        matrix = matrix.at(range(height), order)
        step *= _STREAMED if current() is None else 1
    in_order = np.array_equal(order, np.arange(width))
    step = max(1, min(step, _OUTPUTS // n))
    genes = [range(start, min(start + step, width)) for start in range(0, width, step)]
    tasks = [_Task(matrix, part, groups, n, wanted, streamed) for part in genes]
    sums = _empty(n, width, wanted)
    with job("genes by group", width, "gene") as reading:
        for part, found in zip(genes, each(_sums, tasks), strict=True):
            place = slice(part.start, part.stop)
            for whole, of_part in zip(vars(sums).values(), found, strict=True):
                if whole is not None:
                    of_part = of_part.reshape(len(whole), len(part))
                    whole[:, place if in_order else order[place]] = of_part
            reading(part.stop)
    return sums


def _is_by_gene(matrix: MatrixPlan) -> bool:
    """Whether the gene-major copy has its values, and its steps work on single
    values."""
    source = matrix.source
    return (
        isinstance(source, StoredX)
        and source.dataset.engine.companions()[0]
        and not any(step.dense or step.mask is not None for step in matrix.steps)
        and all(_is_unique(matrix.in_source(axis), source.shape[axis]) for axis in (0, 1))
    )


def _is_unique(positions: axes.Positions, length: int) -> bool:
    if isinstance(positions, range):
        return True
    chosen = np.zeros(length, dtype=bool)
    chosen[positions] = True
    return int(chosen.sum()) == len(positions)


def _empty(n: int, width: int, wanted: Wanted) -> GroupSums:
    def of(is_wanted: bool, rows: int = n, dtype: str = "f8") -> Any:
        return np.empty((rows, width), dtype) if is_wanted else None

    return GroupSums(
        totals=of(True),
        nonzero=of(wanted.nonzero, dtype="u4"),
        squares=of(wanted.squares),
        ranks=of(wanted.ranks),
        ties=of(wanted.ranks, 1 if wanted.reference < 0 else n),
    )


@dataclass(frozen=True)
class _Task:
    matrix: MatrixPlan
    genes: range
    groups: np.ndarray
    n: int
    wanted: Wanted
    #: Whether it is read from the gene-major copy.
    streamed: bool

    def __getstate__(self) -> dict[str, Any]:
        # Only the data of these genes is sent.
        part = self.matrix.sent(range(self.matrix.shape[0]), self.genes)
        return {**self.__dict__, "matrix": part, "genes": range(len(self.genes))}


def _sums(task: _Task) -> tuple[np.ndarray, ...]:
    """The arrays of `GroupSums`, flat; those that are not wanted are empty."""
    part = task.matrix.at(range(task.matrix.shape[0]), task.genes)
    groups = np.ascontiguousarray(task.groups, dtype=np.int32)
    outputs = astuple(task.wanted)
    if task.streamed and isinstance(part.source, StoredX):
        place = (axes.argument(part.in_source(axis)) for axis in (0, 1))
        steps = for_engine([step.take(*part.part) for step in part.steps])
        engine = part.source.dataset.engine
        return _slaf.group_sums_by_gene(
            engine, *place, steps, part.dtype.name, groups, task.n, outputs
        )
    columns = sparse.csc_matrix(part.compute("csc"))
    indices, data = columns.indices.astype(np.int32, copy=False), engine_values(columns.data)
    return _slaf.group_sums((columns.indptr, indices, data), groups, task.n, outputs)
