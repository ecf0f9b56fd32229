"""Runs only the newest of several requests."""

from __future__ import annotations

import atexit
import contextvars
import threading
from collections.abc import Callable
from typing import Any


class Superseded(Exception):
    """A newer request has arrived."""


class Latest:
    """Runs the newest request in a thread. Older requests that wait are dropped, and a
    running one is told to stop.

    `work(what, go_on)` calls `go_on` regularly, which raises :class:`Superseded` if a
    newer request waits.
    """

    def __init__(self, work: Callable[[Any, Callable[..., None]], None]):
        self._work = work
        self._change = threading.Condition()
        self._next: list[Any] = []
        self._runs = self._ends = False

    def ask(self, what: Any) -> None:
        """Adds a request, and returns at once."""
        with self._change:
            self._next = [what]
            if self._runs:
                return
            self._runs = True
            _RUNNING.add(self)
        # Messages from the thread belong to the request that it answers.
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(self._run,), name="slaf-table", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for at most `timeout` seconds; returns whether all requests are done."""
        with self._change:
            return self._change.wait_for(lambda: not self._runs, timeout)

    def end(self) -> None:
        """Drops the waiting request, and tells the running one to stop."""
        self._ends, self._next = True, []

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._next:
                    self._runs = False
                    _RUNNING.discard(self)
                    self._change.notify_all()
                    return
                what = self._next.pop()
            try:
                self._work(what, self._go_on)
            except Superseded:
                pass

    def _go_on(self, *_: Any) -> None:
        if self._next or self._ends:
            raise Superseded


_RUNNING: set[Latest] = set()


@atexit.register
def _end_all() -> None:
    """A thread that is in the engine when Python ends would abort the process."""
    for latest in [*_RUNNING]:
        latest.end()
        latest.wait(timeout=5)
