"""stdout and stderr of cells, and which cell a write belongs to."""

from __future__ import annotations

import codecs
import contextvars
import io
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from slaf._slaf import Kernel, Request
    from slaf.kernel.kernel import SlafKernel

_current: contextvars.ContextVar[Request | None] = contextvars.ContextVar("slaf_request")
_latest: Request | None = None
_running: set[Request] = set()
#: The stderr that the kernel was started with.
log: TextIO = sys.stderr


def enter(request: Request | None, *, everywhere: bool = True) -> None:
    """From here on, output of this context belongs to `request`; with
    `everywhere`, also that of threads of unknown origin."""
    global _latest
    if everywhere:
        _latest = request
    _current.set(request)


def begin(request: Request) -> None:
    """A cell runs."""
    _running.add(request)


def end(request: Request) -> None:
    _running.discard(request)


def running() -> Request | None:
    """The latest cell, if it still runs."""
    return _latest if _latest in _running else None


def current() -> Request | None:
    """The request that code here answers; of a foreign thread, and of one whose
    own cell has ended while another runs, the latest."""
    request = _current.get(_latest)
    return request if request in _running or _latest not in _running else _latest


class OutStream(io.TextIOBase):
    """A text stream whose writes reach the front ends within 40 ms."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, protocol: Kernel, name: str, fd: int):
        self._protocol = protocol
        self._fd = fd
        self.name = f"<{name}>"
        writer = protocol.writer(name, current)
        # On the instance: one look-up less, and some put another there.
        self.write, self.kept = writer.write, writer.kept
        os.register_at_fork(after_in_child=self._forked)

    # What ipykernel's shell calls to answer another request than the context's.

    def set_parent(self, parent: dict[str, Any]) -> None:
        if (request := getattr(parent, "request", current())) is not current():
            enter(request)

    def set_thread_parent(self, parent: dict[str, Any]) -> contextvars.Token:
        return _current.set(getattr(parent, "request", current()))

    def reset_thread_parent(self, token: contextvars.Token) -> None:
        _current.reset(token)

    def _forked(self) -> None:
        """The child's descriptor leads to the cell that forked it; it has none
        of the threads that would send what it writes."""
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

    # What scripts do with the file that is there outside of notebooks. ------------

    mode, line_buffering, write_through = "w", False, True

    @cached_property
    def buffer(self) -> _Bytes:
        return _Bytes(self)

    def detach(self) -> _Bytes:
        return self.buffer

    def reconfigure(self, **_: object) -> None:
        """Nothing: front ends are told UTF-8, at once."""


class _Bytes(io.BufferedIOBase):
    """A stream's bytes, in order with its text."""

    mode = "wb"

    def __init__(self, stream: OutStream):
        self._stream, self.name = stream, stream.name
        self._decoder = codecs.getincrementaldecoder(stream.encoding)(stream.errors)

    @property
    def raw(self) -> _Bytes:
        return self

    def write(self, data) -> int:
        data = memoryview(data)
        self._stream.write(self._decoder.decode(data))
        return data.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """It stays open, whoever has wrapped it and is gone."""
        self.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True


def redirect(protocol: Kernel) -> None:
    """Python's streams are the cells' from here on, and so are the descriptors
    1 and 2, to which `sys.__stdout__` and `sys.__stderr__` write."""
    global log
    log = _file(protocol.capture())
    sys.__stdout__, sys.__stderr__ = _file(1), _file(2)
    sys.stdout = OutStream(protocol, "stdout", 1)
    sys.stderr = OutStream(protocol, "stderr", 2)


def _file(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def follow_threads(kernel: SlafKernel) -> None:
    """A thread started in a cell writes to that cell, and what a pool is given
    in a cell, too."""
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    @wraps(start)
    def start_in_cell(self):
        place, run, own = kernel.place(), self.run, vars(self).get("run")

        def give_back():
            # Else a thread holds itself, and only the collector frees it.
            del self.run
            if own is not None:
                self.run = own

        def run_in_cell():
            give_back()
            kernel.return_to(place)
            run()

        self.run = run_in_cell
        try:
            start(self)
        except BaseException:
            give_back()
            raise

    @wraps(submit)
    def submit_from_cell(self, fn, /, *arguments, **keywords):
        place = kernel.place()

        def run_in_cell():
            kernel.return_to(place)
            return fn(*arguments, **keywords)

        return submit(self, run_in_cell)

    threading.Thread.start = start_in_cell
    ThreadPoolExecutor.submit = submit_from_cell
