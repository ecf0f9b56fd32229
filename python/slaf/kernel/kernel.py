"""The one kernel of the process, with the threads that serve it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

from slaf.kernel.cells.interrupts import SignalInterrupts
from slaf.kernel.cells.ipython_kernel import CellKernel
from slaf.kernel.cells.thread_output import follow_threads
from slaf.kernel.requests.control_thread import ControlThread
from slaf.kernel.requests.server import Server
from slaf.kernel.requests.subshells import Subshells

if TYPE_CHECKING:
    from ipykernel.kernelapp import IPKernelApp

    from slaf._slaf import Kernel


class SlafKernel(CellKernel):
    """`get_ipython().kernel`, with what libraries ask of ipykernel's."""

    #: Answers the main thread's requests, once `listen` has been called.
    server: Server

    def __init__(self, protocol: Kernel, app: IPKernelApp):
        super().__init__(protocol, app)
        self.subshells = Subshells(self)
        follow_threads(self)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """From here on, interrupts count, and other threads answer requests. The
        main thread's wait for `server.serve()` to run in `loop`."""
        self.server = Server(self, self.protocol.main, SignalInterrupts(loop))
        ControlThread(self, self.server, self.subshells, loop).start()

    @property
    def shell_channel_thread(self):
        """For `%subshell`."""
        return SimpleNamespace(manager=self.subshells)

    @property
    def _supports_kernel_subshells(self) -> bool:
        # `%subshell` of ipykernel asks for it by this name.
        return True

    async def do_one_iteration(self) -> None:
        """Handles the waiting messages to comms, for a cell that polls."""
        await self.server.answer_comms()
