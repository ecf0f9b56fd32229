"""Subshells (JEP 91): threads that run cells beside the main thread's. While a SQL
cell runs in one, it does not need Python's lock."""

from __future__ import annotations

import asyncio
import threading

from slaf._slaf import Lane, Request
from slaf.kernel.cells.ipython_kernel import CellKernel
from slaf.kernel.requests.event_loop import run_until_ended
from slaf.kernel.requests.server import Server


class Subshells:
    """The subshells of a kernel. The control thread creates and deletes them."""

    def __init__(self, kernel: CellKernel):
        self._kernel = kernel
        self._running: dict[str, tuple[threading.Thread, Server]] = {}
        #: Cells that came by the control channel.
        self._control_cells: Lane | None = None

    def create(self) -> str:
        """Starts a subshell and returns its name."""
        name, queue = self._kernel.protocol.open_subshell()
        self._start(name, queue)
        return name

    def run_control_cell(self, request: Request) -> None:
        """Runs a cell that came by the control channel. A thread of their own runs
        these cells one after another."""
        if self._control_cells is None:
            self._control_cells = Lane()
            self._start("control", self._control_cells)
        self._control_cells.push(request)

    def delete(self, name: str) -> bool:
        """Ends a subshell once it has run its requests. Returns whether it existed."""
        return self._kernel.protocol.close_subshell(name)

    async def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the cells of all subshells."""
        for _, server in [*self._running.values()]:
            await asyncio.to_thread(server.interrupts.interrupt, KeyboardInterrupt)

    def _start(self, name: str, queue: Lane) -> None:
        server = Server(self._kernel, queue)
        thread = threading.Thread(
            target=self._serve, args=(name, server), name=f"subshell-{name}", daemon=True
        )
        self._running[name] = thread, server
        thread.start()

    def _serve(self, name: str, server: Server) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            run_until_ended(loop, server.serve, lambda: server.ended)
        finally:
            self._running.pop(name, None)
            loop.close()

    # `%subshell` of ipykernel calls these. --------------------------------------------

    def list_subshell(self) -> list[str]:
        return self._kernel.protocol.subshells()

    def subshell_id_from_thread_id(self, thread_id: int) -> str | None:
        for name, (thread, _) in [*self._running.items()]:
            if thread.ident == thread_id:
                return name
        if thread_id == threading.main_thread().ident:
            return None
        raise RuntimeError(f"Thread {thread_id} does not belong to a subshell.")
