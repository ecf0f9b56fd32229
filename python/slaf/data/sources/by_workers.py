"""Inputs that workers read and decode while this process writes. The blocks are those that
it would read itself, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from slaf._slaf import SlafError
from slaf.data.sources import open_source
from slaf.data.sources.base import Block, Matrix, Source
from slaf.ground.workers import each

#: Number of blocks per task, for matrices with `block_ends`: about 4M values.
_BLOCKS = 8
#: Maximum number of values of other matrices, which are read as one task.
_WHOLE = 32 << 20


@dataclass(frozen=True)
class Opening:
    """The arguments with which :func:`open_source` opens an input."""

    path: str
    format: str
    options: tuple[tuple[str, Any], ...]


def read_by_workers(source: Source, opening: Opening) -> Source:
    """`source` with X and raw read by the workers, which open the input again. Inputs
    that are downloaded, matrices that are not compressed, and large ones that cannot be divided
    into tasks, are read here."""
    if "://" in opening.path:
        return source
    x = _by_tasks(source.x, opening, source.fingerprint, False)
    raw = source.raw
    if raw is not None:
        raw = replace(raw, x=_by_tasks(raw.x, opening, source.fingerprint, True))
    return replace(source, x=x, raw=raw)


def _by_tasks(x: Matrix, opening: Opening, fingerprint: str | None, raw: bool) -> Matrix:
    height = x.shape[0]
    # Workers would only send what is read here as fast.
    if getattr(x, "is_plain", False):
        return x
    if hasattr(x, "block_ends"):
        ends = [*x.block_ends()]
        cuts = [*ends[_BLOCKS - 1 :: _BLOCKS], height]
    elif x.nnz is not None and 0 < x.nnz <= _WHOLE and not hasattr(x, "ends"):
        cuts = [height]
    else:
        return x
    cuts = sorted({0, *cuts})
    tasks = [_Task(opening, fingerprint, raw, *span) for span in pairwise(cuts)]
    return _Elsewhere(x, tasks)


@dataclass(frozen=True)
class _Task:
    """The rows `start` to `end` of an input."""

    opening: Opening
    fingerprint: str | None
    raw: bool
    start: int
    end: int


class _Elsewhere:
    """A matrix that is read by tasks."""

    def __init__(self, x: Matrix, tasks: list[_Task]):
        self.shape, self.note, self.nnz = x.shape, x.note, x.nnz
        self._tasks = tasks

    def blocks(self, start: int = 0) -> Iterator[Block]:
        left = [replace(t, start=max(t.start, start)) for t in self._tasks if t.end > start]
        for blocks in each(_read, left):
            yield from blocks


def _read(task: _Task) -> list[Block]:
    source = _opened(task.opening)
    if source.fingerprint != task.fingerprint:
        raise SlafError(
            f"A worker finds another file at `{task.opening.path}` than was opened: it was changed "
            "meanwhile, or the worker sees another disk."
        )
    x = source.x if not task.raw or source.raw is None else source.raw.x
    blocks, at = [], task.start
    for block in x.blocks(task.start):
        blocks.append(block)
        at += len(block[0]) - 1
        if at >= task.end:
            break
    if at != task.end:
        raise SlafError(f"`{task.opening.path}` was read to cell {at}, and not to {task.end}.")
    return blocks


@lru_cache(maxsize=1)
def _opened(opening: Opening) -> Source:
    """The opened input. It is cached, because a worker runs many tasks of one input."""
    return open_source(opening.path, opening.format, **dict(opening.options))
