"""The interface between an executor and an engine."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, Protocol

from slaf._slaf import SlafError

#: A spawned process runs the user's script again. Without a guard, it would start
#: workers, too.
UNGUARDED = "in a script, the `with` has to be under `if __name__ == '__main__':`"


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


#: Seconds to wait for a cluster without workers: cloud machines take minutes to start.
PATIENCE = 300.0


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that start inside get no interrupts, which the driver handles: a notebook's
    kernel is interrupted together with all processes that it has started."""
    # When it starts, it unblocks interrupts.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Patience:
    """Stops waiting for a cluster that has no workers."""

    def __init__(self) -> None:
        self._since: float | None = None

    def check(self, n_workers: int, message: str, seconds: float) -> None:
        """Raises a SlafError with `message` if there have been no workers for `seconds`."""
        if n_workers > 0:
            self._since = None
            return
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= seconds:
            raise SlafError(message)
