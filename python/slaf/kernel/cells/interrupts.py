"""Interrupts of cells, in the main thread and in the threads of subshells."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

from slaf.kernel.threads import raise_in

_ASYNCIO = os.path.dirname(asyncio.__file__)


class SignalInterrupts:
    """SIGINT in the main thread.

    It raises KeyboardInterrupt where code of a cell runs, and cancels the cell
    while that awaits. It never interrupts the kernel's own code.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        #: The task that takes requests.
        self.serving: asyncio.Task | None = None
        #: The tasks that answer requests now.
        self._answering: set[asyncio.Task] = set()
        self._cell: asyncio.Task | None = None
        self._cancelled = False
        #: The exception that the next signal raises.
        self._error: type[BaseException] = KeyboardInterrupt
        self._listen()

    def _listen(self) -> None:
        # signal.signal raises ValueError outside the main thread. A program may
        # have embedded the kernel there, where no signals arrive.
        with contextlib.suppress(ValueError):
            # Only if needed: setting it again would remove handlers that call
            # ours, such as the one of polars while it collects.
            if signal.getsignal(signal.SIGINT) != self._on_signal:
                signal.signal(signal.SIGINT, self._on_signal)

    def protect(self, task: asyncio.Task) -> asyncio.Task:
        """`task` answers a request. Interrupts only reach it inside `interruptible`,
        so that every request gets its answer. Call this before the task starts."""
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return task

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Allows interrupts inside the `with`, while the current task runs user code:
        that of a cell, or of a message to a comm, which may arrive while a cell
        awaits."""
        # A cell may have set a handler of its own.
        self._listen()
        outer = self._cell, self._cancelled
        self._cell, self._cancelled = asyncio.current_task(), False
        try:
            yield
        finally:
            cell, cancelled = self._cell, self._cancelled
            self._cell, self._cancelled = outer
            # The code has been cancelled; the task goes on, to reply. (Python 3.11)
            if cancelled and hasattr(cell, "uncancel"):
                cell.uncancel()

    def interrupt(self, error: type[BaseException]) -> None:
        """Called in another thread: raises `error` where SIGINT would raise
        KeyboardInterrupt."""
        self._error = error
        pid = os.getpid()
        # As a terminal does: children too, if the process group is only ours.
        (os.killpg if os.getpgid(0) == pid else os.kill)(pid, signal.SIGINT)

    def _on_signal(self, _: int, frame: FrameType | None) -> None:
        error, self._error = self._error, KeyboardInterrupt
        task = asyncio.current_task(self._loop)
        answers = task in self._answering and task is not self._cell
        if not (task is None or task is self.serving or answers or _is_asyncios(frame)):
            raise error
        if self._cell is not None:
            self._cancelled = True
            self._loop.call_soon_threadsafe(self._cell.cancel)


class ThreadInterrupts:
    """Interrupts of a subshell's thread, where no signals arrive. As with
    :class:`SignalInterrupts`, only code of a cell is interrupted."""

    def __init__(self):
        self._lock = threading.Lock()
        #: The task that runs user code, and its thread.
        self._cell: tuple[asyncio.Task, int] | None = None

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Allows interrupts inside the `with`, while the current task runs user
        code."""
        self._cell = asyncio.current_task(), threading.get_ident()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """The user code has ended: an interrupt that comes now has no effect.

        The caller of `interruptible` calls this once more, because an interrupt
        may still be raised at the first line of this.
        """
        self._cell = None
        with self._lock:
            raise_in(threading.get_ident(), None)

    def interrupt(self, error: type[BaseException]) -> None:
        """Called in another thread: cancels the cell if it awaits, and raises
        `error` in it if it computes."""
        if (cell := self._cell) is None:
            return
        task, thread = cell
        task.get_loop().call_soon_threadsafe(self._cancel, cell)
        time.sleep(0.2)
        with self._lock:
            if self._cell is cell:
                raise_in(thread, error)

    def _cancel(self, cell: tuple[asyncio.Task, int]) -> None:
        if self._cell is cell:
            cell[0].cancel()


def hide_handler(trace: TracebackType | None) -> None:
    """Ends a traceback where the interrupt arrived, before the frame of our handler."""
    while trace is not None:
        last = trace.tb_next
        if last is not None and last.tb_frame.f_code is SignalInterrupts._on_signal.__code__:
            last = trace.tb_next = None
        trace = last


def _is_asyncios(frame: FrameType | None) -> bool:
    """Whether the event loop itself runs. An exception there could lose a task."""
    return frame is not None and frame.f_code.co_filename.startswith(_ASYNCIO)
