"""IPython's shell, as libraries know it from ipykernel, over our publishers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ipykernel import zmqshell

if TYPE_CHECKING:
    from slaf.kernel.session import KernelSession


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """Has ipykernel's name: rich, pandas and others look for it to know that
    they are in a notebook."""

    def enable_gui(self, gui=None) -> None:
        """Figures are inline; there is no event loop of a window to run."""

    def init_sys_modules(self) -> None:
        super().init_sys_modules()
        sys.modules["__main__"] = self.user_module


def make_shell(kernel: KernelSession, connection_file: str) -> ZMQInteractiveShell:
    """The one shell of the process."""
    # Libraries take `ipykernel.zmqshell` in `sys.modules` and this key for the
    # sign of a notebook.
    shell = ZMQInteractiveShell.instance()
    shell.kernel = kernel
    for publisher in (shell.displayhook, shell.display_pub):
        publisher.session = kernel.session
        publisher.pub_socket = None
    shell.displayhook.topic = b"execute_result"
    shell.config.IPKernelApp.connection_file = connection_file
    shell.extension_manager.load_extension("slaf")
    return shell
