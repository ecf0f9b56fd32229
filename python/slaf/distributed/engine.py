"""The interface between an executor and an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Lost(Exception):
    """A worker has died before its task ended."""


class Engine(Protocol):
    """Runs tasks in other processes."""

    @property
    def n_workers(self) -> int: ...

    def submit(self, payload: bytes) -> Any:
        """Starts :func:`slaf.distributed.task_bytes.run` with `payload`. Returns a hashable
        handle of the task."""

    def wait(self, running: Sequence[Any]) -> Sequence[Any]:
        """Waits until at least one task is done. Returns the handles of those that are."""

    def result(self, done: Any) -> bytes:
        """The result of a task that is done. Raises :class:`Lost` if its worker died."""

    def cancel(self, running: Sequence[Any]) -> None: ...

    def close(self) -> None: ...
