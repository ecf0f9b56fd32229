"""A kernel from its sockets to its first cell: IPython's configuration, startup
files, extensions and code to run, as ipykernel's application reads them."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from ipykernel.kernelapp import IPKernelApp

from slaf.kernel import streams
from slaf.kernel.interrupt import Interrupts, run_always
from slaf.kernel.kernel import SlafKernel
from slaf.kernel.serve import Server
from slaf.kernel.side import Side

if TYPE_CHECKING:
    from slaf._slaf import Kernel


def run(protocol: Kernel, connection_file: str, arguments: list[str]) -> None:
    """Serves until shutdown; does not return."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        streams.redirect(protocol)
        faulthandler.enable(sys.__stderr__)
        protocol.watch_deaths()
        app = KernelApp.instance(protocol=protocol, connection_file=connection_file)
        app.initialize(arguments)
        kernel = app.kernel
        kernel.server = Server(kernel, protocol.main, Interrupts(loop))
        Side(kernel).start()
        run_always(loop, kernel.server.serve())
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        protocol.exit(1)
    protocol.exit(0)


class KernelApp(IPKernelApp):
    """ipykernel's application without its sockets and threads."""

    def __init__(self, protocol: Kernel, **traits):
        super().__init__(**traits)
        self.protocol = protocol

    def initialize(self, argv=None) -> None:
        super(IPKernelApp, self).initialize(argv)
        self.init_pdb()
        self.kernel = SlafKernel(self.protocol, self)
        self.shell = self.kernel.shell
        self.shell.configurables.append(self)
        if not os.environ.get("MPLBACKEND"):
            os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        self.init_path()
        self.init_gui_pylab()
        self.init_extensions()
        self.init_code()
        self.shell.extension_manager.load_extension("slaf")
        sys.stdout.flush()
