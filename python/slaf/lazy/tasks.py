"""Splits a pass over a lazy matrix into tasks of a few blocks of rows each.

The matrix alone determines where tasks begin, and their results are merged in order.
Therefore the result is the same to the last bit on any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from slaf.ground.workers import current
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.stream import blocks_of, rows_of_a_block

#: Blocks per task: 16M values, which take a fraction of a second.
_BLOCKS = 8

#: The blocks of a task in order, each as `(number of its first row, its rows)`.
Blocks = Iterator[tuple[int, Any]]


class Operator(Protocol):
    """Computes a state from blocks of rows. The operator and its states are pickled."""

    def of_rows(self, rows: range) -> Operator:
        """The operator for some rows only, without its data about others."""

    def __call__(self, blocks: Blocks) -> Any: ...


class OfAllRows:
    """An operator without data about single rows."""

    def of_rows(self, rows: range) -> Any:
        return self


def states(matrix: MatrixPlan, operator: Operator) -> Iterator[Any]:
    """The states that `operator` computes from the rows of each task, in order. There is at
    least one."""
    step = rows_of_a_block(matrix)
    height = matrix.shape[0]
    starts = range(0, height, step * _BLOCKS) or range(1)
    tasks = [range(start, min(start + step * _BLOCKS, height)) for start in starts]
    workers = current()
    if workers is not None:
        yield from workers.map(_work, [_Task(matrix, rows, step, operator) for rows in tasks])
        return
    # After an error, `closing` also frees the blocks that were read ahead, and ends the
    # progress.
    with closing(blocks_of(matrix, step)) as blocks:
        for rows in tasks:
            here = ((start - rows.start, block) for start, block in islice(blocks, _BLOCKS))
            yield operator.of_rows(rows)(here)


@dataclass(frozen=True)
class _Task:
    matrix: MatrixPlan
    rows: range
    #: Rows per block.
    step: int
    operator: Operator

    def __getstate__(self) -> dict[str, Any]:
        # Only the data of these rows is sent.
        part = self.matrix.sent(self.rows, range(self.matrix.shape[1]))
        operator = self.operator.of_rows(self.rows)
        return {**self.__dict__, "matrix": part, "operator": operator}


def _work(task: _Task) -> Any:
    return task.operator(blocks_of(task.matrix, task.step))
