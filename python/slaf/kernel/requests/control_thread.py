"""The thread for requests that must not wait for a cell: completion and inspection
while the main thread computes, the debugger, subshells."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ipykernel.control import CONTROL_THREAD_NAME

from slaf._slaf import Request
from slaf.kernel.cells.ipython_kernel import CellKernel
from slaf.kernel.messages.errors import error_reply
from slaf.kernel.messages.request_message import RequestMessage
from slaf.kernel.output import streams
from slaf.kernel.output.current_request import set_in_context
from slaf.kernel.requests.event_loop import run_until_ended
from slaf.kernel.requests.introspection import Introspection
from slaf.kernel.requests.replies import Handler, call, send_reply
from slaf.kernel.requests.server import Server, on_request
from slaf.kernel.requests.subshells import Subshells
from slaf.kernel.threads import KernelThread

if TYPE_CHECKING:
    from slaf.kernel.requests.debugger import Debugger


class ControlThread(KernelThread):
    """Answers requests, several at a time. `main` and `main_loop` are the server and
    the event loop of the main thread."""

    def __init__(
        self,
        kernel: CellKernel,
        main: Server,
        subshells: Subshells,
        main_loop: asyncio.AbstractEventLoop,
    ):
        # Libraries know ipykernel's control thread by its name.
        super().__init__(name=CONTROL_THREAD_NAME)
        self._kernel, self._main, self._subshells = kernel, main, subshells
        self._main_loop = main_loop
        self._queue = kernel.protocol.side
        self._introspection = Introspection(kernel, while_busy=True)
        self._debugger: Debugger | None = None
        self._debugging = asyncio.Lock()
        self._tasks: set[asyncio.Task] = set()

    def run(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        run_until_ended(loop, self._serve, lambda: self._queue.ended)

    async def _serve(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def take_all() -> None:
            while request := self._queue.next():
                task = loop.create_task(self._take(request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if self._queue.ended:
                ended.set()

        on_request(loop, self._queue, take_all)
        await ended.wait()

    async def _take(self, request: Request) -> None:
        kind = request.msg_type
        handler = self._introspection.handler(kind) or getattr(self, f"_on_{kind}", None)
        if kind == "interrupt_request":
            # The Rust side has answered it and interrupted the main thread. If that
            # runs nothing, the interrupt is for the subshells.
            if self._main.running is None:
                await self._subshells.interrupt()
        elif kind == "execute_request":
            self._subshells.run_control_cell(request)
        elif kind == "debug_request":
            # Each request builds on what the one before has done.
            async with self._debugging:
                await self._answer(request, handler)
        else:
            await self._answer(request, handler)

    async def _answer(self, request: Request, handler: Handler | None) -> None:
        kind, protocol = request.msg_type, self._kernel.protocol
        set_in_context(request)
        message = RequestMessage(request)
        self._kernel.set_parent(request.identities, message, channel="control")
        protocol.status("busy", request)
        try:
            reply = await call(handler, request, message)
        except Exception as error:
            reply = error_reply(error)
            print("\n".join(reply["traceback"]), file=streams.log)
        if kind.endswith("_request"):
            send_reply(protocol, request, reply)
        protocol.status("idle", request)

    async def _on_debug_request(self, request: Request, message: dict) -> dict[str, Any]:
        if self._debugger is None:
            # debugpy takes long to import.
            from slaf.kernel.requests.debugger import Debugger

            self._debugger = Debugger(self._kernel, self._main_loop)
        return await self._debugger.process_request(message["content"])

    async def _on_create_subshell_request(self, request: Request, message: dict):
        return {"status": "ok", "subshell_id": self._subshells.create()}

    async def _on_delete_subshell_request(self, request: Request, message: dict):
        name = message["content"]["subshell_id"]
        if not self._subshells.delete(name):
            raise ValueError(f"There is no subshell `{name}`.")
        return {"status": "ok"}

    async def _on_list_subshell_request(self, request: Request, message: dict):
        return {"status": "ok", "subshell_id": self._subshells.list_subshell()}
