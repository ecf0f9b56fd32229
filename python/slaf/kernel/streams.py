"""stdout and stderr of cells, and which cell a write belongs to."""

from __future__ import annotations

import contextvars
import io
import threading

#: JSON of the header of the request that the current code answers.
_parent: contextvars.ContextVar[str] = contextvars.ContextVar("slaf_parent")
_latest = "{}"


def set_parent(header: str) -> None:
    """From here on, output of this context belongs to `header`."""
    global _latest
    _latest = header
    _parent.set(header)


def parent() -> str:
    """The header that output belongs to; of a foreign thread, the latest."""
    return _parent.get(_latest)


class OutStream(io.TextIOBase):
    """A text stream whose writes reach the front ends within 40 ms."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, kernel, name: str):
        self._kernel = kernel
        self.name = name
        # IPython's `%%capture` and tee replace it on the instance.
        self.write = self._write

    def _write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._kernel.write(self.name, text, parent())
        return len(text)

    def writelines(self, lines) -> None:
        self.write("".join(lines))

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        self._kernel.flush()


def follow_threads() -> None:
    """A thread started in a cell writes to that cell."""
    start = threading.Thread.start

    def start_in_context(self):
        context, run = contextvars.copy_context(), self.run
        self.run = lambda: context.run(run)
        start(self)

    threading.Thread.start = start_in_context
