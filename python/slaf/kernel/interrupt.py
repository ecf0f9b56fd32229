"""What an interrupt does to a cell."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType, TracebackType

_ASYNCIO = os.path.dirname(asyncio.__file__)


class Interrupts:
    """SIGINT in the main thread. It raises KeyboardInterrupt where code of a
    cell runs, and cancels the cell while it awaits. What answers for cells is
    never struck."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        #: The task that takes requests, and those that answer one now.
        self.serving: asyncio.Task | None = None
        self._answering: set[asyncio.Task] = set()
        self._cell: asyncio.Task | None = None
        self._cancelled = False
        #: What the next signal raises.
        self._error: type[BaseException] = KeyboardInterrupt
        self._listen()

    def _listen(self) -> None:
        # A program may have embedded the kernel in another thread than the main
        # one, which gets no signals.
        with contextlib.suppress(ValueError):
            # Setting it anew would take out who hangs on to it, as polars does
            # while it collects.
            if signal.getsignal(signal.SIGINT) != self._struck:
                signal.signal(signal.SIGINT, self._struck)

    def spare(self, task: asyncio.Task) -> asyncio.Task:
        """`task`, which has not begun, answers a request: it is struck only where
        it is in :meth:`reach`, since nobody else would answer."""
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return task

    @contextlib.contextmanager
    def reach(self) -> Iterator[None]:
        """The current task is a cell's, or other code of a user's: of a message to a
        comm also while a cell awaits."""
        # A cell may have put a handler of its own there.
        self._listen()
        around = self._cell, self._cancelled
        self._cell, self._cancelled = asyncio.current_task(), False
        try:
            yield
        finally:
            cell, cancelled = self._cell, self._cancelled
            self._cell, self._cancelled = around
            # The cell has been told; what answers for it goes on. (Python 3.11)
            if cancelled and hasattr(cell, "uncancel"):
                cell.uncancel()

    def strike(self, error: type[BaseException]) -> None:
        """From another thread: raises `error` as an interrupt would be raised."""
        self._error = error
        pid = os.getpid()
        # As a terminal does it: to children too, if they are ours alone.
        (os.killpg if os.getpgid(0) == pid else os.kill)(pid, signal.SIGINT)

    def _struck(self, _: int, frame: FrameType | None) -> None:
        error, self._error = self._error, KeyboardInterrupt
        task = asyncio.current_task(self._loop)
        answers = task in self._answering and task is not self._cell
        if not (task is None or task is self.serving or answers or _is_asyncios(frame)):
            raise error
        if self._cell is not None:
            self._cancelled = True
            self._loop.call_soon_threadsafe(self._cell.cancel)


class ThreadInterrupts:
    """Interrupts of a subshell's thread, which gets no signals: as
    :class:`Interrupts`, they strike where code of a cell runs, and nowhere else."""

    def __init__(self):
        self._lock = threading.Lock()
        #: The task that runs a user's code, and its thread.
        self._cell: tuple[asyncio.Task, int] | None = None

    @contextlib.contextmanager
    def reach(self) -> Iterator[None]:
        """The current task runs code of a user's."""
        self._cell = asyncio.current_task(), threading.get_ident()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Nothing strikes from here on, also what is on its way: it came too late for
        its cell, and is nobody's. Called once more by who answers, as it may strike
        where this begins."""
        self._cell = None
        with self._lock:
            raise_in(threading.get_ident(), None)

    def strike(self, error: type[BaseException] = KeyboardInterrupt) -> None:
        """From another thread: cancels the cell if it awaits, and raises `error`
        in it if it computes."""
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


def forget_handler(trace: TracebackType | None) -> None:
    """Ends a traceback where the interrupt struck, before our handler's frame."""
    while trace is not None:
        last = trace.tb_next
        if last is not None and last.tb_frame.f_code is Interrupts._struck.__code__:
            last = trace.tb_next = None
        trace = last


def _is_asyncios(frame: FrameType | None) -> bool:
    """Whether the event loop itself runs, which would lose a task if it were
    struck while it puts one back."""
    return frame is not None and frame.f_code.co_filename.startswith(_ASYNCIO)


def run_always(
    loop: asyncio.AbstractEventLoop, serve: Callable[[], Coroutine], ended: Callable[[], bool]
) -> None:
    """Runs `serve()` until it has `ended`, whatever cells do to the loop: an
    interrupt or a SystemExit that strikes a task which a cell left behind ends
    that task; a loop that was stopped runs again, and who was cancelled begins
    again."""
    task = loop.create_task(serve())
    while not task.done():
        try:
            loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            pass
        except RuntimeError:
            if task.done() or loop.is_closed() or loop.is_running():
                raise
        if task.cancelled() and not ended():
            task = loop.create_task(serve())
    if not task.cancelled():
        task.result()


def end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancels the tasks that cells left behind, so that their `finally` runs."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with contextlib.suppress(KeyboardInterrupt, SystemExit, RuntimeError):
            loop.run_until_complete(asyncio.wait(left, timeout=1))


def raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    """Raises `error` in another thread, once it runs Python code; with None,
    nothing that is still to be raised there."""
    raised = ctypes.py_object() if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), raised)
