"""The interface between an executor and an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Lost(Exception):
    """A worker has died, and what it did is lost."""


class Engine(Protocol):
    """What runs tasks elsewhere."""

    @property
    def n_workers(self) -> int: ...

    def submit(self, payload: bytes) -> Any:
        """Begins :func:`slaf.distributed.payload.run`; gives something hashable."""

    def wait(self, running: Sequence[Any]) -> Sequence[Any]:
        """Those that are done, at least one."""

    def result(self, done: Any) -> bytes:
        """Raises :class:`Lost`."""

    def cancel(self, running: Sequence[Any]) -> None: ...

    def close(self) -> None: ...
