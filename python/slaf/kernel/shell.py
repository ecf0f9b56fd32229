"""IPython's shell, as libraries know it from ipykernel."""

from __future__ import annotations

import sys

from ipykernel import zmqshell
from IPython.core.error import UsageError

#: What figures and widgets are drawn with inside the notebook.
_INLINE = (None, "", "asyncio", "inline", "agg", "widget", "ipympl", "nbagg", "notebook")


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """Has ipykernel's name: rich, pandas and others look for it to know that
    they are in a notebook."""

    def enable_gui(self, gui=None) -> None:
        """Figures are in the notebook; no loop of a window is run."""
        if gui not in _INLINE:
            raise UsageError(
                f"This kernel opens no windows, so `{gui}` cannot be used. "
                "`%matplotlib inline` and `%matplotlib widget` draw in the notebook."
            )

    def init_sys_modules(self) -> None:
        super().init_sys_modules()
        sys.modules["__main__"] = self.user_module
