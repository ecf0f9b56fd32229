"""`%slaf timeout`: how long a cell may run."""

from __future__ import annotations

import contextlib
import math
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core.error import UsageError

from slaf.kernel.threads import KernelThread

#: Seconds until a cell that goes on is interrupted again.
_AGAIN = 5.0
_SENTENCE = "The cell ran longer than {:g} s; `%slaf timeout off` lets cells run on."


class CellTimeout(KeyboardInterrupt):
    """A cell ran longer than it may.

    It is no `Exception`, so code that tries again after errors does not catch it.
    """

    #: The message of the latest one.
    sentence = ""

    def __init__(self, *arguments: object):
        # Raised in another thread, it is made without arguments.
        super().__init__(*arguments or (self.sentence,))


class TimeLimit:
    """The time that each cell has. It interrupts cells that take longer."""

    def __init__(self):
        self.seconds: float | None = None
        #: For each thread, a list whose item says whether its cell is late.
        self._cell = threading.local()

    @contextlib.contextmanager
    def applied(self, interrupt: Callable[[type[BaseException]], None]) -> Iterator[None]:
        """While a cell runs in this thread. `interrupt` is called in another thread
        if the cell takes too long."""
        self._cell.late = None
        if self.seconds is None:
            yield
            return
        over, late, lock = threading.Event(), [False], threading.Lock()
        self._cell.late = late

        def watch(seconds: float = self.seconds) -> None:
            wait = seconds
            while not over.wait(wait):
                # With the lock, neither a cell that has just ended nor the next
                # cell is interrupted.
                with lock:
                    if not over.is_set():
                        late[0], wait = True, _AGAIN
                        CellTimeout.sentence = _SENTENCE.format(seconds)
                        interrupt(CellTimeout)

        KernelThread(watch, name="slaf-timeout").start()
        try:
            yield
        finally:
            with lock:
                over.set()

    def as_timeout(self, error: Any) -> Any:
        """`error`; or a CellTimeout if this cell was cancelled for being late."""
        late = getattr(self._cell, "late", None)
        if late and late[0] and isinstance(error, CancelledError):
            return CellTimeout().with_traceback(error.__traceback__)
        return error

    def magic(self, argument: str) -> None:
        """`%slaf timeout 60`: later cells that run longer than 60 seconds are ended;
        `%slaf timeout off`: cells run as long as they take."""
        try:
            if argument:
                self.seconds = _seconds(argument)
        except ValueError:
            raise UsageError(
                f"`{argument}` is not a time limit: `%slaf timeout 60` gives each later cell 60 "
                "seconds, `%slaf timeout off` as long as it takes."
            ) from None
        allowed = "as long as they take" if self.seconds is None else f"{self.seconds:g} s"
        print(f"Cells may run {allowed}.")


def _seconds(text: str) -> float | None:
    if text == "off":
        return None
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(text)
    return seconds
