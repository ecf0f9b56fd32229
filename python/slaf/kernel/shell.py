"""IPython's shell, as libraries know it from ipykernel."""

from __future__ import annotations

import sys
from functools import cached_property

from ipykernel import zmqshell

from slaf.kernel.windows import Windows

#: What figures and widgets are drawn with inside the notebook.
_INLINE = ("", "asyncio", "inline", "agg", "widget", "ipympl", "nbagg", "notebook")


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """Has ipykernel's name: rich, pandas and others look for it to know that
    they are in a notebook."""

    @cached_property
    def windows(self) -> Windows:
        return Windows()

    def enable_gui(self, gui=None) -> None:
        """Windows of a toolkit; `None` for none."""
        if gui not in _INLINE:
            self.windows.enable(gui)

    def init_sys_modules(self) -> None:
        super().init_sys_modules()
        sys.modules["__main__"] = self.user_module
