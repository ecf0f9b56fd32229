"""A kernel inside a running program."""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
from types import ModuleType
from typing import Any

from IPython.utils.frame import extract_module_locals

from slaf.kernel.app import KernelApp, start
from slaf.kernel.connection import connect


def embed_kernel(module: ModuleType | None = None, local_ns: dict[str, Any] | None = None) -> None:
    """Lets Jupyter's front ends into a running program, at the place of this call.

    Prints to stderr how to connect (`jupyter console --existing …`). Cells see the
    caller's names, or those of `module` and `local_ns`. The program goes on once a
    cell sets `get_ipython().exit_now = True`, and may call this again. After a
    shutdown of the kernel the program goes on, too, but further calls do nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if KernelApp.initialized():
        app = KernelApp.instance()
    else:
        main = sys.modules["__main__"]
        connection = connect([], embedded=True)
        atexit.register(connection.clean_up)
        app = start(connection, [])
        sys.modules["__main__"] = main
    caller, names = extract_module_locals(1)
    app.kernel.user_module = module or caller
    app.kernel.user_ns = dict(names) if local_ns is None else local_ns
    app.shell.set_completer_frame()
    app.shell.exit_now = False
    try:
        app.start()
    finally:
        # Only the main thread can set handlers.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, handler)
