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
from slaf.kernel.sockets import bind


def embed_kernel(module: ModuleType | None = None, local_ns: dict[str, Any] | None = None) -> None:
    """Lets Jupyter's front ends into a running program, where this is called.

    Says on stderr how to connect (`jupyter console --existing …`). Cells see the
    caller's names, or those of `module` and `local_ns`. The program goes on once
    a cell sets `get_ipython().exit_now = True`, and may call this again; after a
    shutdown of the kernel it goes on for good, and further calls do nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if KernelApp.initialized():
        app = KernelApp.instance()
    else:
        main = sys.modules["__main__"]
        sockets = bind([], embedded=True)
        atexit.register(sockets.clean_up)
        app = start(sockets, [])
        sys.modules["__main__"] = main
    caller, names = extract_module_locals(1)
    app.kernel.user_module = module or caller
    app.kernel.user_ns = dict(names) if local_ns is None else local_ns
    app.shell.set_completer_frame()
    app.shell.exit_now = False
    try:
        app.start()
    finally:
        # Other threads than the main one have no handlers.
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, handler)
