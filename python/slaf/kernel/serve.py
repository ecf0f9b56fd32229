"""Requests of one lane, one after another, in one thread's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jupyter_client.session import utcnow

from slaf.kernel import streams
from slaf.kernel.interrupt import Interrupts, ThreadInterrupts
from slaf.kernel.questions import Questions
from slaf.kernel.wire import dumps, error_reply, said

if TYPE_CHECKING:
    from slaf._slaf import Lane, Request
    from slaf.kernel.kernel import SlafKernel


class Server:
    """Takes requests from a lane and runs them: the main thread's, which signals
    interrupt, or a subshell's."""

    def __init__(self, kernel: SlafKernel, lane: Lane, interrupts: Interrupts | None = None):
        self.kernel, self.lane = kernel, lane
        self.interrupts, self._main = interrupts or ThreadInterrupts(), interrupts is not None
        self.protocol = kernel.protocol
        self._questions = Questions(kernel)
        #: The task of the request that is being answered.
        self.running: asyncio.Task | None = None
        #: What a cell sets in its context is there for the next.
        self._context = contextvars.copy_context()
        self._cell: tuple[Request, dict[str, Any]] | None = None

    async def serve(self) -> None:
        """Until the lane ends."""
        loop = asyncio.get_running_loop()
        rung = asyncio.Event()
        # A cell may have cancelled whoever served before, and go on itself.
        if self.running is not None:
            await asyncio.wait({self.running})
        listen(loop, self.lane, rung.set)
        if self._main:
            self.interrupts.serving = asyncio.current_task()
        while not self.ended:
            request = self.lane.next()
            if request is None:
                await rung.wait()
                rung.clear()
                continue
            self.running = self._spared(_in_context(self._context, self._answer(request)))
            # One that came too late for its cell is nobody's; whoever cancels the
            # answering task has had its answer.
            with contextlib.suppress(KeyboardInterrupt):
                if self._main and request.msg_type == "execute_request":
                    await self._with_comms(rung)
                else:
                    await asyncio.wait({self.running})
            self.running = None
            # Tasks that cells left behind go on between requests.
            await asyncio.sleep(0)
        loop.remove_reader(self.lane.fd)

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to serve."""
        return self.lane.ended or self.kernel.shell.exit_now

    async def _with_comms(self, rung: asyncio.Event) -> None:
        """Waits for a cell, and answers messages to comms while it awaits."""
        # A cell without await is done after one step.
        await asyncio.sleep(0)
        while not self.running.done():
            ring = asyncio.ensure_future(rung.wait())
            await asyncio.wait({self.running, ring}, return_when=asyncio.FIRST_COMPLETED)
            ring.cancel()
            if rung.is_set():
                rung.clear()
                await self.answer_comms()
        # What has come meanwhile is looked for.
        rung.set()

    async def answer_comms(self) -> None:
        while request := self.lane.next_comm():
            with contextlib.suppress(KeyboardInterrupt):
                await self._spared(asyncio.create_task(self._answer(request, comm=True)))

    def _spared(self, task: asyncio.Task) -> asyncio.Task:
        return self.interrupts.spare(task) if self._main else task

    async def _answer(self, request: Request, *, comm: bool = False) -> None:
        kernel, kind, started = self.kernel, request.msg_type, utcnow()
        message = decoded(request)
        kernel.enter(request, message, main=self._main)
        if kind == "execute_request":
            streams.begin(request)
        if not comm:
            self._cell = request, message
        self.protocol.status("busy", request)
        handler = getattr(self, f"_on_{kind}", None) or self._questions.handler(kind)
        waiting: list[Request] = []
        try:
            message.check()
            if handler is None:
                raise NotImplementedError(f"This kernel does not answer {kind}.")
            with self.interrupts.reach():
                reply = await handler(request, message)
        except (Exception, KeyboardInterrupt, SystemExit, asyncio.CancelledError) as error:
            # An interrupt may strike between a cell's end and its reply.
            reply = error_reply(error)
            if not kind.endswith("_request"):
                print("\n".join(reply["traceback"]), file=sys.stderr)
        if not self._main:
            self.interrupts.end()
        if kind == "execute_request" and reply["status"] == "error":
            # Before the reply: a cell sent after it is a new beginning.
            if message["content"].get("stop_on_error", True):
                waiting = [*iter(self.lane.next, None)]
        kernel.session.children.catch_up()
        if kind.endswith("_request"):
            self._reply(request, reply, started)
        if kind == "execute_request":
            streams.end(request)
            if self._main:
                self.protocol.end_cell()
        self.protocol.status("idle", request)
        if comm:
            kernel.enter(*self._cell, main=self._main)
            return
        for later in waiting:
            await self._abort(later)
        self.lane.done()

    async def _abort(self, request: Request) -> None:
        """Cells that were waiting when one failed do not run; the rest does."""
        if request.msg_type != "execute_request":
            await self._answer(request)
            return
        self.protocol.status("busy", request)
        self._reply(request, {"status": "aborted"}, utcnow())
        self.protocol.status("idle", request)

    def _reply(self, request: Request, content: dict[str, Any], started: datetime) -> None:
        kind = request.msg_type.replace("_request", "_reply")
        # JupyterLab records when cells have started.
        metadata: dict[str, Any] = {"started": started}
        if kind == "execute_reply":
            metadata["status"] = content["status"]
        self.protocol.reply(kind, answer(content), request, dumps(metadata))

    async def _on_execute_request(self, request: Request, message: dict) -> dict[str, Any]:
        content, kernel = message["content"], self.kernel
        silent, code = content.get("silent", False), content["code"]
        count = kernel.shell.execution_count
        if not silent:
            shown = dumps({"code": code, "execution_count": count})
            self.protocol.publish("execute_input", shown, request.header)
        if self._main:
            first = said(code.lstrip().partition("\n")[0])
            self.protocol.begin_cell(request, f"cell [{count}]: {first}")
        with kernel.limit.around(self.interrupts.strike):
            return await kernel.do_execute(
                code,
                silent,
                content.get("store_history", not silent),
                content.get("user_expressions"),
                cell_meta=message["metadata"],
                cell_id=message["metadata"].get("cellId"),
            )

    async def _on_comm_open(self, request: Request, message: dict) -> None:
        self.kernel.comm_manager.comm_open(None, None, message)

    async def _on_comm_msg(self, request: Request, message: dict) -> None:
        self.kernel.comm_manager.comm_msg(None, None, message)

    async def _on_comm_close(self, request: Request, message: dict) -> None:
        self.kernel.comm_manager.comm_close(None, None, message)


def answer(content: dict[str, Any]) -> str:
    """A reply as JSON, or, if it cannot be one, a reply that says so."""
    try:
        return dumps(content)
    except Exception as error:
        return dumps(error_reply(error))


def listen(loop: asyncio.AbstractEventLoop, lane: Lane, woken: Callable[[], None]) -> None:
    """Calls `woken` whenever there may be a request."""

    def read() -> None:
        os.read(lane.fd, 8)
        woken()

    loop.add_reader(lane.fd, read)


class Decoded(dict[str, Any]):
    """A message as jupyter_client's sessions give it, which knows its request."""

    request: Request
    #: Why it cannot be answered as it asks; then the part in question is empty.
    wrong: Exception | None = None

    def check(self) -> None:
        if self.wrong is not None:
            raise self.wrong


def decoded(request: Request) -> Decoded:
    """Never fails: whatever a request holds, it gets an answer."""
    message = Decoded(parent_header={}, buffers=request.buffers)
    message.request = request
    for part in ("header", "content", "metadata"):
        message[part] = {}
        try:
            said = json.loads(getattr(request, part))
            if not isinstance(said, dict):
                raise TypeError(f"The {part} of a message is an object, not {type(said).__name__}.")
            message[part] = said
        # Python reads no number of thousands of digits, and nothing deep.
        except (ValueError, TypeError, RecursionError) as error:
            message.wrong = error
    message["msg_id"] = message["header"].setdefault("msg_id", "")
    message["msg_type"] = message["header"].setdefault("msg_type", request.msg_type)
    return message


def _in_context(context: contextvars.Context, work: Coroutine) -> asyncio.Task:
    if sys.version_info >= (3, 11):
        return asyncio.get_running_loop().create_task(work, context=context)
    return context.run(asyncio.ensure_future, work)
