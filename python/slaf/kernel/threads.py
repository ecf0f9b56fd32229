"""The kernel's own threads, and exceptions raised in another thread."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable


class KernelThread(threading.Thread):
    """A daemon thread that the debugger does not stop, unlike all other threads."""

    def __init__(self, target: Callable[[], object] | None = None, *, name: str):
        super().__init__(target=target, name=name, daemon=True)
        self.pydev_do_not_trace = self.is_pydev_daemon_thread = True


def raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    """Raises `error` in another thread as soon as that runs Python code. `None`
    cancels an error that has not been raised yet."""
    raised = ctypes.py_object() if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), raised)
