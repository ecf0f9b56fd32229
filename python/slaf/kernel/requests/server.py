"""Answers requests one after another: those of the main thread, or of a subshell."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from jupyter_client.session import utcnow

from slaf.kernel.cells.interrupts import SignalInterrupts, ThreadInterrupts
from slaf.kernel.cells.ipython_kernel import CellKernel
from slaf.kernel.messages.errors import error_reply
from slaf.kernel.messages.json_text import dumps, without_surrogates
from slaf.kernel.messages.request_message import RequestMessage
from slaf.kernel.output import current_request
from slaf.kernel.requests.introspection import Introspection
from slaf.kernel.requests.replies import call, send_reply

if TYPE_CHECKING:
    from slaf._slaf import Lane, Request


class Server:
    """Takes requests from a queue and answers them. With `interrupts`, it is the server
    of the main thread, otherwise that of a subshell."""

    def __init__(self, kernel: CellKernel, queue: Lane, interrupts: SignalInterrupts | None = None):
        self._kernel, self._queue = kernel, queue
        self._protocol = kernel.protocol
        self.interrupts, self._is_main = interrupts or ThreadInterrupts(), interrupts is not None
        self._introspection = Introspection(kernel)
        #: The task that answers a request now.
        self.running: asyncio.Task | None = None
        #: Context variables that a cell sets are kept for the next one.
        self._context = contextvars.copy_context()
        #: The latest request that was no message to a comm.
        self._latest: tuple[Request, RequestMessage] | None = None

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to serve."""
        return self._queue.ended or self._kernel.shell.exit_now

    async def serve(self) -> None:
        """Answers requests until the queue ends."""
        loop = asyncio.get_running_loop()
        rung = asyncio.Event()
        # If a cell has cancelled the previous call of this, it may still run.
        if self.running is not None:
            await asyncio.wait({self.running})
        on_request(loop, self._queue, rung.set)
        if self._is_main:
            self.interrupts.serving = asyncio.current_task()
        while not self.ended:
            request = self._queue.next()
            if request is None:
                await rung.wait()
                rung.clear()
                continue
            self.running = self._protected(_in_context(self._context, self._answer(request)))
            # An interrupt that came too late for its cell has no effect.
            with contextlib.suppress(KeyboardInterrupt):
                if self._is_main and request.msg_type == "execute_request":
                    await self._wait_and_answer_comms(rung)
                else:
                    await asyncio.wait({self.running})
            self.running = None
            # Tasks that cells left behind go on between requests.
            await asyncio.sleep(0)
        loop.remove_reader(self._queue.fd)

    async def _wait_and_answer_comms(self, rung: asyncio.Event) -> None:
        """Waits for a cell. While the cell awaits, answers messages to comms."""
        # A cell without await is done after one step.
        await asyncio.sleep(0)
        while not self.running.done():
            ring = asyncio.ensure_future(rung.wait())
            await asyncio.wait({self.running, ring}, return_when=asyncio.FIRST_COMPLETED)
            ring.cancel()
            if rung.is_set():
                rung.clear()
                await self.answer_comms()
        # Other requests may have come meanwhile.
        rung.set()

    async def answer_comms(self) -> None:
        """Handles the waiting messages to comms."""
        while request := self._queue.next_comm():
            with contextlib.suppress(KeyboardInterrupt):
                await self._protected(asyncio.create_task(self._answer_comm(request)))

    def _protected(self, task: asyncio.Task) -> asyncio.Task:
        return self.interrupts.protect(task) if self._is_main else task

    async def _answer_comm(self, request: Request) -> None:
        """Handles a message to a comm that came during a cell; then output belongs
        to the cell again."""
        await self._reply_to(request, RequestMessage(request))
        if self._latest is not None:
            self._kernel.enter(*self._latest, main=self._is_main)

    async def _answer(self, request: Request) -> None:
        message = RequestMessage(request)
        self._latest = request, message
        for cell in await self._reply_to(request, message):
            await self._abort(cell)
        self._queue.done()

    async def _reply_to(self, request: Request, message: RequestMessage) -> list[Request]:
        """Handles a request and replies. Returns the requests that are to be aborted
        because this one has failed."""
        kernel, kind, started = self._kernel, request.msg_type, utcnow()
        is_cell = kind == "execute_request"
        kernel.enter(request, message, main=self._is_main)
        if is_cell:
            current_request.cell_began(request)
        self._protocol.status("busy", request)
        reply = await self._handle(request, message)
        waiting: list[Request] = []
        if is_cell and reply["status"] == "error" and message["content"].get("stop_on_error", True):
            # Before the reply: a cell that is sent after it is to run.
            waiting = [*iter(self._queue.next, None)]
        kernel.session.children.receive()
        if kind.endswith("_request"):
            # JupyterLab records when cells have started.
            metadata = {"started": started} | ({"status": reply["status"]} if is_cell else {})
            send_reply(self._protocol, request, reply, metadata)
        if is_cell:
            current_request.cell_ended(request)
            if self._is_main:
                self._protocol.end_cell()
        self._protocol.status("idle", request)
        return waiting

    async def _handle(self, request: Request, message: RequestMessage) -> dict[str, Any] | None:
        """The content of the reply, even if the request or its handler fails."""
        kind = request.msg_type
        handler = getattr(self, f"_on_{kind}", None) or self._introspection.handler(kind)
        try:
            with self.interrupts.interruptible():
                reply = await call(handler, request, message)
        # An interrupt may come between a cell's end and its reply.
        except (Exception, KeyboardInterrupt, SystemExit, asyncio.CancelledError) as error:
            reply = error_reply(error)
            if not kind.endswith("_request"):
                print("\n".join(reply["traceback"]), file=sys.stderr)
        if not self._is_main:
            self.interrupts.end()
        return reply

    async def _abort(self, request: Request) -> None:
        """Does not run a cell that was waiting when one failed. Other requests are
        answered as usual."""
        if request.msg_type != "execute_request":
            await self._answer(request)
            return
        self._protocol.status("busy", request)
        metadata = {"started": utcnow(), "status": "aborted"}
        send_reply(self._protocol, request, {"status": "aborted"}, metadata)
        self._protocol.status("idle", request)

    async def _on_execute_request(self, request: Request, message: dict) -> dict[str, Any]:
        content, kernel = message["content"], self._kernel
        silent, code = content.get("silent", False), content["code"]
        count = kernel.shell.execution_count
        if not silent:
            shown = dumps({"code": code, "execution_count": count})
            self._protocol.publish("execute_input", shown, request.header)
        if self._is_main:
            first_line = without_surrogates(code.lstrip().partition("\n")[0])
            self._protocol.begin_cell(request, f"cell [{count}]: {first_line}")
        with kernel.shell.time_limit.applied(self.interrupts.interrupt):
            return await kernel.do_execute(
                code,
                silent,
                content.get("store_history", not silent),
                content.get("user_expressions"),
                cell_meta=message["metadata"],
                cell_id=message["metadata"].get("cellId"),
            )

    async def _on_comm_open(self, request: Request, message: dict) -> None:
        self._kernel.comm_manager.comm_open(None, None, message)

    async def _on_comm_msg(self, request: Request, message: dict) -> None:
        self._kernel.comm_manager.comm_msg(None, None, message)

    async def _on_comm_close(self, request: Request, message: dict) -> None:
        self._kernel.comm_manager.comm_close(None, None, message)


def on_request(loop: asyncio.AbstractEventLoop, queue: Lane, call: Callable[[], None]) -> None:
    """Calls `call` in `loop` whenever there may be a request in `queue`."""

    def read() -> None:
        os.read(queue.fd, 8)
        call()

    loop.add_reader(queue.fd, read)


def _in_context(context: contextvars.Context, work: Coroutine) -> asyncio.Task:
    if sys.version_info >= (3, 11):
        return asyncio.get_running_loop().create_task(work, context=context)
    return context.run(asyncio.ensure_future, work)
