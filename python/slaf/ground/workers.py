"""Runs the tasks of a function in this process, or on the workers of
`slaf.distributed.executor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from slaf.ground.progress import job


class Workers(Protocol):
    """Processes to which tasks are sent."""

    def map(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """`work(task)` for each task, in the order of the tasks. `work` and the tasks are
        pickled."""


_CURRENT: ContextVar[Workers | None] = ContextVar("slaf_workers", default=None)


def current() -> Workers | None:
    """The workers of the surrounding `with`; None if this process runs the tasks."""
    return _CURRENT.get()


@contextmanager
def working(workers: Workers | None) -> Iterator[None]:
    """Makes `workers` (None: this process) run the tasks inside the `with`."""
    token = _CURRENT.set(workers)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def each(work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """`work(task)` for each task, in order, on the current workers or in this
    process."""
    workers = current()
    if workers is not None:
        yield from workers.map(work, tasks)
        return
    if len(tasks) < 2:
        yield from map(work, tasks)
        return
    with job("tasks", len(tasks), "task") as running:
        for task in tasks:
            yield work(task)
            running(running.done + 1)
