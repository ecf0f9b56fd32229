"""Keeps SIGINT back while Python talks to the process of the Rust cells."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class HeldInterrupts:
    """Takes SIGINT while a cell runs. A KeyboardInterrupt in the middle of a message
    would leave half an answer behind."""

    #: Whether an interrupt has come that nobody has taken.
    pending: bool

    def __enter__(self) -> HeldInterrupts:
        self.pending = False
        self._raising = False
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, *_: object) -> None:
        if self._raising:
            self._raising = False
            raise KeyboardInterrupt
        self.pending = True

    def taken(self) -> bool:
        """Whether an interrupt has come since the last call."""
        taken, self.pending = self.pending, False
        return taken

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Inside, an interrupt raises KeyboardInterrupt, once."""
        self._raising = True
        try:
            yield
        finally:
            self._raising = False
