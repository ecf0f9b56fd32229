"""A kernel from its sockets to its first cell: IPython's configuration, startup
files, extensions and code to run, as ipykernel's application reads them."""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from ipykernel.kernelapp import IPKernelApp
from tornado.ioloop import IOLoop

from slaf.kernel import streams
from slaf.kernel.interrupt import Interrupts, end_tasks, run_always
from slaf.kernel.kernel import SlafKernel
from slaf.kernel.serve import Server
from slaf.kernel.side import Side

if TYPE_CHECKING:
    from slaf._slaf import Kernel
    from slaf.kernel.sockets import Sockets


def run(sockets: Sockets, arguments: list[str]) -> None:
    """Serves until shutdown, and ends as a script does: what was registered with
    `atexit` runs, threads are waited for, files are closed."""
    # Registered first, it comes last.
    atexit.register(sockets.kernel.leave)
    code = 0
    try:
        start(sockets, arguments).start()
    except BaseException:
        traceback.print_exc(file=streams.log)
        code = 1
    sockets.kernel.leaving()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sockets.clean_up()
    sys.exit(code)


def start(sockets: Sockets, arguments: list[str]) -> KernelApp:
    """A kernel that is ready for its first cell."""
    # A cell that computes gives Python's lock to what somebody asks after 1 ms,
    # not 5; a question takes the lock several times.
    sys.setswitchinterval(0.001)
    asyncio.set_event_loop(asyncio.new_event_loop())
    streams.redirect(sockets.kernel)
    faulthandler.enable(streams.log)
    sockets.kernel.watch_deaths()
    app = KernelApp.instance(protocol=sockets.kernel, connection_file=sockets.connection_file)
    app.initialize(arguments)
    return app


class KernelApp(IPKernelApp):
    """ipykernel's application without its sockets and threads."""

    def __init__(self, protocol: Kernel | None = None, **traits):
        super().__init__(**traits)
        self.protocol = protocol

    def initialize(self, argv=None) -> None:
        super(IPKernelApp, self).initialize(argv)
        # Libraries look for the section to know that they are in a notebook;
        # without a command line there is none.
        self.config.IPKernelApp.connection_file = self.connection_file
        self.init_pdb()
        self.kernel = kernel = SlafKernel(self.protocol, self)
        self.shell = kernel.shell
        self.shell.configurables.append(self)
        if not os.environ.get("MPLBACKEND"):
            os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        self.init_path()
        self.init_gui_pylab()
        self.init_extensions()
        self.init_code()
        self.shell.extension_manager.load_extension("slaf")
        sys.stdout.flush()
        self._loop = asyncio.get_event_loop_policy().get_event_loop()
        kernel.io_loop = IOLoop.current()
        kernel.server = Server(kernel, self.protocol.main, Interrupts(self._loop))
        Side(kernel).start()

    def start(self) -> None:
        """Serves until shutdown, or until a cell sets `exit_now`."""
        server = self.kernel.server
        run_always(self._loop, server.serve, lambda: server.ended)
        end_tasks(self._loop)
