"""`%slaf timeout`: how long a cell may run."""

from __future__ import annotations

import contextlib
import math
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from typing import Any

from slaf.kernel.aside import Aside

#: Seconds until a cell that goes on is struck again.
_AGAIN = 5.0
_SENTENCE = "The cell ran longer than {:g} s; `%slaf timeout off` lets cells run on."


class CellTimeout(KeyboardInterrupt):
    """A cell ran longer than it may. Not an Exception: code that tries again
    after errors does not catch it."""

    #: What the latest says.
    sentence = ""

    def __init__(self, *arguments: object):
        # Raised in another thread it is made without arguments.
        super().__init__(*arguments or (self.sentence,))


class Limit:
    """The time that each cell has, and how it ends who takes longer."""

    def __init__(self):
        self.seconds: float | None = None
        self._late = threading.local()

    @contextlib.contextmanager
    def around(self, strike: Callable[[type[BaseException]], None]) -> Iterator[None]:
        """While a cell runs in this thread; `strike` ends it, from another."""
        self._late.cell = None
        if self.seconds is None:
            yield
            return
        over, late, lock = threading.Event(), [False], threading.Lock()
        self._late.cell = late

        def watch(seconds: float = self.seconds) -> None:
            wait = seconds
            while not over.wait(wait):
                # Who ends now is not struck any more, nor is the next cell.
                with lock:
                    if not over.is_set():
                        late[0], wait = True, _AGAIN
                        CellTimeout.sentence = _SENTENCE.format(seconds)
                        strike(CellTimeout)

        Aside(watch, name="slaf-timeout").start()
        try:
            yield
        finally:
            with lock:
                over.set()

    def named(self, error: Any) -> Any:
        """The error as the user is told it: a cell that awaits is cancelled."""
        late = getattr(self._late, "cell", None)
        if late and late[0] and isinstance(error, CancelledError):
            return CellTimeout().with_traceback(error.__traceback__)
        return error

    def verb(self, said: str) -> None:
        """`%slaf timeout 60`: later cells that run longer than 60 seconds are ended;
        `%slaf timeout off`: cells run as long as they take."""
        from IPython.core.error import UsageError

        try:
            if said:
                self.seconds = _seconds(said)
        except ValueError:
            raise UsageError(
                f"`{said}` is no time limit: `%slaf timeout 60` gives each later cell 60 "
                "seconds, `%slaf timeout off` as long as it takes."
            ) from None
        allowed = "as long as they take" if self.seconds is None else f"{self.seconds:g} s"
        print(f"Cells may run {allowed}.")


def _seconds(said: str) -> float | None:
    if said == "off":
        return None
    seconds = float(said)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(said)
    return seconds
