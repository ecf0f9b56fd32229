"""What an interrupt does to a cell."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
from collections.abc import Coroutine, Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt where Python code runs, and cancels the
    current task while it awaits. Between cells it is ignored. For the main
    thread."""
    loop, cell = asyncio.get_running_loop(), asyncio.current_task()
    cancelled = False

    def struck(*_: object) -> None:
        nonlocal cancelled
        if asyncio.current_task(loop) is not None:
            raise KeyboardInterrupt
        cancelled = True
        loop.call_soon_threadsafe(cell.cancel)

    signal.signal(signal.SIGINT, struck)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The cell has been told; what answers for it goes on. (Python 3.11)
        if cancelled and hasattr(cell, "uncancel"):
            cell.uncancel()


def run_always(loop: asyncio.AbstractEventLoop, serving: Coroutine) -> None:
    """Runs `serving` to its end: an interrupt that strikes a task which a cell
    left behind ends that task, not the kernel."""
    task = loop.create_task(serving)
    while not task.done():
        with contextlib.suppress(KeyboardInterrupt):
            loop.run_until_complete(task)
    task.result()


def raise_in(thread_id: int, error: type[BaseException]) -> None:
    """Raises `error` in another thread, once it runs Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(error))
