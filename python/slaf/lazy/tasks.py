"""A pass over a lazy matrix as tasks of a few blocks of rows each.

The matrix alone determines where tasks begin, and their results are merged in order. So
the result is the same to the last bit on any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from slaf.ground.workers import current
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.stream import blocks_of, rows_of_a_block

#: Blocks of a task: 16M values, which take a fraction of a second.
_BLOCKS = 8

#: `(first row, rows)` of a task, one after the other.
Blocks = Iterator[tuple[int, Any]]


class Operator(Protocol):
    """What is found out of blocks of rows. It is pickled, and so is what it finds."""

    def of_rows(self, rows: range) -> Operator:
        """The operator for some rows only: without what it knows of others."""

    def __call__(self, blocks: Blocks) -> Any: ...


class OfAllRows:
    """An operator that knows nothing of single rows."""

    def of_rows(self, rows: range) -> Any:
        return self


def states(matrix: MatrixPlan, operator: Operator) -> Iterator[Any]:
    """What `operator` finds of each task's rows, in order; at least one."""
    step = rows_of_a_block(matrix)
    height = matrix.shape[0]
    starts = range(0, height, step * _BLOCKS) or range(1)
    tasks = [range(start, min(start + step * _BLOCKS, height)) for start in starts]
    workers = current()
    if workers is not None:
        yield from workers.map(_work, [_Task(matrix, rows, step, operator) for rows in tasks])
        return
    blocks = blocks_of(matrix, step)
    for rows in tasks:
        here = ((start - rows.start, block) for start, block in islice(blocks, _BLOCKS))
        yield operator.of_rows(rows)(here)


@dataclass(frozen=True)
class _Task:
    matrix: MatrixPlan
    rows: range
    #: Rows of a block.
    step: int
    operator: Operator

    def __getstate__(self) -> dict[str, Any]:
        # What is sent is of these rows alone.
        part = self.matrix.sent(self.rows, range(self.matrix.shape[1]))
        operator = self.operator.of_rows(self.rows)
        return {**self.__dict__, "matrix": part, "operator": operator}


def _work(task: _Task) -> Any:
    return task.operator(blocks_of(task.matrix, task.step))
