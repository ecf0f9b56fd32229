"""The kernel's own threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Aside(threading.Thread):
    """A thread that nobody waits for at the end, and that the debugger, which stops
    all others, leaves alone."""

    def __init__(self, target: Callable[[], object] | None = None, *, name: str):
        super().__init__(target=target, name=name, daemon=True)
        self.pydev_do_not_trace = self.is_pydev_daemon_thread = True
