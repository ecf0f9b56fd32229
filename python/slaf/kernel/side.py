"""The thread for what must not wait for a cell: questions while the main thread
computes, the debugger, subshells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ipykernel.control import CONTROL_THREAD_NAME

from slaf.kernel import streams
from slaf.kernel.aside import Aside
from slaf.kernel.interrupt import run_always
from slaf.kernel.questions import Questions
from slaf.kernel.serve import answer, decoded, listen
from slaf.kernel.wire import error_reply

if TYPE_CHECKING:
    from slaf._slaf import Request
    from slaf.kernel.debug import Debugger
    from slaf.kernel.kernel import SlafKernel

Handler = Callable[["Request", dict[str, Any]], Coroutine]


class Side(Aside):
    """Answers the requests of the side lane, several at a time."""

    def __init__(self, kernel: SlafKernel):
        # Libraries know ipykernel's control thread by its name.
        super().__init__(name=CONTROL_THREAD_NAME)
        self._kernel = kernel
        self._lane = kernel.protocol.side
        self._questions = Questions(kernel, quick=True)
        self._debugger: Debugger | None = None
        self._debugging = asyncio.Lock()
        self._tasks: set[asyncio.Task] = set()
        self._main_loop = asyncio.get_event_loop_policy().get_event_loop()

    def run(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        run_always(loop, self._serve, lambda: self._lane.ended)

    async def _serve(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def take() -> None:
            while request := self._lane.next():
                task = loop.create_task(self._take(request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if self._lane.ended:
                ended.set()

        listen(loop, self._lane, take)
        await ended.wait()

    async def _take(self, request: Request) -> None:
        kind = request.msg_type
        handler = self._questions.handler(kind) or getattr(self, f"_on_{kind}", None)
        if kind == "interrupt_request":
            # Answered already; it is here for the subshells.
            await self._kernel.subshells.interrupt()
        elif kind == "execute_request":
            self._kernel.subshells.run_of_control(request)
        elif kind == "debug_request":
            # Each builds on what the one before has done.
            async with self._debugging:
                await self._answer(request, handler)
        else:
            await self._answer(request, handler)

    async def _answer(self, request: Request, handler: Handler | None) -> None:
        kind, protocol = request.msg_type, self._kernel.protocol
        streams.enter(request, everywhere=False)
        message = decoded(request)
        self._kernel.set_parent(request.identities, message, channel="control")
        protocol.status("busy", request)
        try:
            message.check()
            if handler is None:
                raise NotImplementedError(f"This kernel does not answer {kind}.")
            reply = await handler(request, message)
        except Exception as error:
            reply = error_reply(error)
            print("\n".join(reply["traceback"]), file=streams.log)
        if kind.endswith("_request"):
            protocol.reply(kind.replace("_request", "_reply"), answer(reply), request)
        protocol.status("idle", request)

    async def _on_debug_request(self, request: Request, message: dict) -> dict[str, Any]:
        if self._debugger is None:
            from slaf.kernel.debug import Debugger

            self._debugger = Debugger(self._kernel, self._main_loop)
        return await self._debugger.process_request(message["content"])

    async def _on_create_subshell_request(self, request: Request, message: dict):
        return {"status": "ok", "subshell_id": self._kernel.subshells.create()}

    async def _on_delete_subshell_request(self, request: Request, message: dict):
        name = message["content"]["subshell_id"]
        if not self._kernel.subshells.delete(name):
            raise ValueError(f"There is no subshell `{name}`.")
        return {"status": "ok"}

    async def _on_list_subshell_request(self, request: Request, message: dict):
        return {"status": "ok", "subshell_id": self._kernel.protocol.subshells()}
