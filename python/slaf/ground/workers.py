"""Who runs the tasks of a function: this process, or the workers of
`slaf.distributed.executor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Workers(Protocol):
    """Processes that are sent tasks."""

    def map(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """`work(task)` of each task, in the order of the tasks. Both are pickled."""


_CURRENT: ContextVar[Workers | None] = ContextVar("slaf_workers", default=None)


def current() -> Workers | None:
    """The workers of the `with` that the caller is in; None: this process works."""
    return _CURRENT.get()


@contextmanager
def working(workers: Workers | None) -> Iterator[None]:
    """Lets `workers` (None: this process) do what is done in the `with`."""
    token = _CURRENT.set(workers)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def each(work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """`work(task)` of each task, in order, by the current workers or here."""
    workers = current()
    return map(work, tasks) if workers is None else workers.map(work, tasks)
