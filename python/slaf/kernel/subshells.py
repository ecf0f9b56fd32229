"""Subshells (JEP 91): threads that run cells beside the main thread's. A SQL
cell in one needs no lock of Python's while it runs."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from slaf._slaf import Lane, Request
from slaf.kernel.interrupt import run_always
from slaf.kernel.serve import Server

if TYPE_CHECKING:
    from slaf.kernel.kernel import SlafKernel


class Subshells:
    """The subshells of a kernel; called by its side thread."""

    def __init__(self, kernel: SlafKernel):
        self._kernel = kernel
        self._running: dict[str, tuple[threading.Thread, Server]] = {}
        self._control: Lane | None = None

    def create(self) -> str:
        name, lane = self._kernel.protocol.open_subshell()
        self._start(name, lane)
        return name

    def run_of_control(self, request: Request) -> None:
        """Runs a cell that came by the control channel: one after another, in a
        thread of their own."""
        if self._control is None:
            self._control = Lane()
            self._start("control", self._control)
        self._control.push(request)

    def delete(self, name: str) -> bool:
        """Whether there was such a subshell; it ends after what it runs."""
        return self._kernel.protocol.close_subshell(name)

    async def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the cells of all subshells, unless the
        interrupt was for a cell of the main thread."""
        if self._kernel.server.running is not None:
            return
        for _, server in [*self._running.values()]:
            await asyncio.to_thread(server.interrupts.strike)

    def _start(self, name: str, lane: Lane) -> None:
        server = Server(self._kernel, lane)
        thread = threading.Thread(
            target=self._serve, args=(name, server), name=f"subshell-{name}", daemon=True
        )
        self._running[name] = thread, server
        thread.start()

    def _serve(self, name: str, server: Server) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            run_always(loop, server.serve, lambda: server.ended)
        finally:
            self._running.pop(name, None)
            loop.close()

    # As ipykernel's manager, for `%subshell`.

    def list_subshell(self) -> list[str]:
        return self._kernel.protocol.subshells()

    def subshell_id_from_thread_id(self, thread_id: int) -> str | None:
        for name, (thread, _) in [*self._running.items()]:
            if thread.ident == thread_id:
                return name
        if thread_id == threading.main_thread().ident:
            return None
        raise RuntimeError(f"Thread {thread_id} is no subshell's.")
