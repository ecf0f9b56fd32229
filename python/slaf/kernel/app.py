"""Starts a kernel and ends it. IPython's configuration, startup files, extensions
and code to run are read as ipykernel's application reads them."""

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

from slaf.kernel.connection import Connection
from slaf.kernel.kernel import SlafKernel
from slaf.kernel.output import streams
from slaf.kernel.requests.event_loop import cancel_all, run_until_ended

if TYPE_CHECKING:
    from slaf._slaf import Kernel


def run(connection: Connection, arguments: list[str]) -> None:
    """Serves until shutdown. Then the process ends as after a script: functions
    registered with `atexit` run, threads are waited for, files are closed."""
    # Registered first, so it runs last.
    atexit.register(connection.protocol.leave)
    code = 0
    try:
        start(connection, arguments).start()
    except BaseException:
        traceback.print_exc(file=streams.log)
        code = 1
    connection.protocol.leaving()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.clean_up()
    sys.exit(code)


def start(connection: Connection, arguments: list[str]) -> KernelApp:
    """A kernel that is ready for its first cell."""
    # A computing cell hands Python's lock over after 1 ms instead of 5. Answering a
    # completion meanwhile takes the lock several times.
    sys.setswitchinterval(0.001)
    asyncio.set_event_loop(asyncio.new_event_loop())
    streams.redirect(connection.protocol)
    faulthandler.enable(streams.log)
    connection.protocol.watch_deaths()
    app = KernelApp.instance(protocol=connection.protocol, connection_file=connection.file)
    app.initialize(arguments)
    return app


class KernelApp(IPKernelApp):
    """ipykernel's application without its sockets and threads."""

    def __init__(self, protocol: Kernel, **traits):
        super().__init__(**traits)
        self.protocol = protocol

    def initialize(self, argv=None) -> None:
        super(IPKernelApp, self).initialize(argv)
        # Libraries know by this section that they are in a notebook. A kernel that
        # was started without a command line would not have it.
        self.config.IPKernelApp.connection_file = self.connection_file
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
        self._loop = asyncio.get_event_loop_policy().get_event_loop()
        self.kernel.io_loop = IOLoop.current()
        self.kernel.listen(self._loop)

    def start(self) -> None:
        """Serves until shutdown, or until a cell sets `exit_now`."""
        server = self.kernel.server
        run_until_ended(self._loop, server.serve, lambda: server.ended)
        cancel_all(self._loop)
