"""`sys.stdout` and `sys.stderr` of cells, and the kernel's log."""

from __future__ import annotations

import codecs
import contextvars
import io
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from slaf.kernel.output.current_request import (
    current,
    reset_in_context,
    set_everywhere,
    set_in_context,
)

if TYPE_CHECKING:
    from slaf._slaf import Kernel

#: The stderr that the kernel was started with.
log: TextIO = sys.stderr


def redirect(protocol: Kernel) -> None:
    """Makes Python's streams and the descriptors 1 and 2 output of cells.
    `sys.__stdout__` and `sys.__stderr__` write to these descriptors."""
    global log
    log = _open(protocol.capture())
    # Python does not forbid what typeshed does.
    sys.__stdout__, sys.__stderr__ = _open(1), _open(2)  # type: ignore[misc]
    sys.stdout = OutStream(protocol, "stdout", 1)
    sys.stderr = OutStream(protocol, "stderr", 2)


def _open(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


class OutStream(io.TextIOBase):
    """A text stream whose writes reach the front ends within 40 ms."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, protocol: Kernel, name: str, fd: int):
        self._protocol = protocol
        self._fd = fd
        self.name = f"<{name}>"
        writer = protocol.writer(name, current)
        # Set on the instance: this saves a look-up, and some libraries replace it.
        self.write, self.kept = writer.write, writer.kept
        os.register_at_fork(after_in_child=self._forked)

    # ipykernel's shell calls these to answer another request than the context's. ----

    def set_parent(self, parent: dict[str, Any]) -> None:
        if (request := getattr(parent, "request", current())) is not current():
            set_everywhere(request)

    def set_thread_parent(self, parent: dict[str, Any]) -> contextvars.Token:
        return set_in_context(getattr(parent, "request", current()))

    def reset_thread_parent(self, token: contextvars.Token) -> None:
        reset_in_context(token)

    def _forked(self) -> None:
        """In a forked child, which has no thread that sends: writes to the
        descriptor, which leads to the cell that forked it."""
        file = open(
            self._fd, "w", buffering=1, encoding=self.encoding, errors=self.errors, closefd=False
        )
        self.write, self.flush = file.write, file.flush

    def writelines(self, lines) -> None:
        self.write("".join(lines))

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        self._protocol.flush()

    # What scripts do with `sys.stdout` outside of notebooks. ------------------------

    mode, line_buffering, write_through = "w", False, True

    @cached_property
    def buffer(self) -> _BytesStream:
        return _BytesStream(self)

    def detach(self) -> Any:
        return self.buffer

    def reconfigure(self, **_: object) -> None:
        """Does nothing: text is always sent as UTF-8, and soon."""


class _BytesStream(io.BufferedIOBase):
    """Writes bytes to a text stream, in order with its text."""

    mode = "wb"

    def __init__(self, stream: OutStream):
        self._stream, self.name = stream, stream.name
        self._decoder = codecs.getincrementaldecoder(stream.encoding)(stream.errors)

    @property
    def raw(self) -> _BytesStream:
        return self

    def write(self, data) -> int:
        data = memoryview(data)
        self._stream.write(self._decoder.decode(data))
        return data.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Only flushes. A wrapper around this stream may be collected, which must
        not close stdout."""
        self.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True
