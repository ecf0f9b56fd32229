"""The Python side of the kernel: takes requests from the Rust side and runs
them in IPython's shell, on the main thread's event loop."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import getpass
import json
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session as ClientSession

from slaf import magics
from slaf.kernel import streams

if TYPE_CHECKING:
    from slaf._slaf import Kernel, Request


def run(protocol: Kernel, connection_file: str) -> None:
    """Serves until shutdown; does not return."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        session = KernelSession(protocol, connection_file)
        loop.run_until_complete(session.serve())
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        protocol.exit(1)
    protocol.exit(0)


class WireSession(ClientSession):
    """What IPython's publishers take for their session: messages leave through
    the Rust side, which signs them."""

    def __init__(self, protocol: Kernel):
        super().__init__()
        self._protocol = protocol

    def send(
        self,
        stream,
        msg_or_type,
        content=None,
        parent=None,
        ident=None,
        buffers=None,
        track=False,
        header=None,
        metadata=None,
    ):
        if isinstance(msg_or_type, dict):
            message = msg_or_type
            buffers = buffers or message.get("buffers")
        else:
            message = self.msg(msg_or_type, content, parent, header, metadata)
        self._protocol.publish(
            message["header"]["msg_type"],
            _dumps(message["content"]),
            _dumps(message["parent_header"]),
            _dumps(message["metadata"]),
            [bytes(b) for b in buffers or []],
        )
        return message


class KernelSession:
    """What a running kernel is to the shell, to comms and to libraries that ask
    for `get_ipython().kernel`."""

    #: IPython's publishers pass it to `session.send`, which needs none.
    iopub_socket = None
    eventloop = None
    implementation = "slaf"

    def __init__(self, protocol: Kernel, connection_file: str):
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        self.protocol = protocol
        self.session = WireSession(protocol)
        self._request: Request | None = None
        self._parent: dict[str, Any] = {}
        sys.stdout = streams.OutStream(protocol, "stdout")
        sys.stderr = streams.OutStream(protocol, "stderr")
        streams.follow_threads()

        from slaf.kernel.comms import install_comms
        from slaf.kernel.shell import make_shell

        self.shell = make_shell(self, connection_file)
        self.comm_manager = install_comms(self)
        self.language_info = {"name": "python", "file_extension": ".py"}

    # What libraries ask for ----------------------------------------------

    def get_parent(self, channel: str = "shell") -> dict[str, Any]:
        return self.shell.get_parent()

    @property
    def _parent_header(self) -> dict[str, Any]:
        return self.get_parent()

    def send_response(self, stream, msg_type, content=None, **more) -> None:
        self.session.send(stream, msg_type, content, parent=self.get_parent(), **more)

    # Serving --------------------------------------------------------------

    async def serve(self) -> None:
        ready = asyncio.Event()
        fd = self.protocol.wake_fd

        def woken() -> None:
            os.read(fd, 4096)
            ready.set()

        asyncio.get_running_loop().add_reader(fd, woken)
        while not (self.protocol.ended or self.shell.exit_now):
            await ready.wait()
            ready.clear()
            while not self.protocol.ended and (request := self.protocol.next_request()):
                await self._answer(request)
                # Tasks that cells left behind go on between requests.
                await asyncio.sleep(0)

    async def _answer(self, request: Request) -> None:
        handler = getattr(self, f"_on_{request.msg_type}", None)
        if handler is None:
            print(f"slaf kernel: unknown request {request.msg_type}", file=sys.__stderr__)
            return
        header = request.header
        streams.set_parent(header)
        self._request = request
        message = {
            "header": json.loads(header),
            "content": json.loads(request.content),
            "metadata": json.loads(request.metadata),
            "buffers": request.buffers,
            "parent_header": {},
        }
        message["msg_id"] = message["header"]["msg_id"]
        message["msg_type"] = request.msg_type
        self.shell.set_parent(message)
        self.protocol.publish("status", '{"execution_state": "busy"}', header)
        try:
            reply = await handler(message)
        except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
            # An interrupt may strike between a cell's end and its reply.
            reply = _error_reply(error, traceback.format_exc().splitlines())
        is_cell = request.msg_type == "execute_request"
        failed = is_cell and reply["status"] == "error"
        # Before the reply: a cell sent after it is a new beginning.
        stops = failed and message["content"].get("stop_on_error", True)
        waiting = self._waiting() if stops else []
        if request.msg_type.endswith("_request"):
            self._reply(request, reply)
        elif reply is not None:
            print("\n".join(reply["traceback"]), file=sys.__stderr__)
        self.protocol.publish("status", '{"execution_state": "idle"}', header)
        await self._abort(waiting)

    def _reply(self, request: Request, content: dict[str, Any]) -> None:
        msg_type = request.msg_type.replace("_request", "_reply")
        metadata = {"status": content["status"]} if msg_type == "execute_reply" else {}
        self.protocol.reply(msg_type, _dumps(content), request, _dumps(metadata))

    def _waiting(self) -> list[Request]:
        waiting = []
        while request := self.protocol.next_request():
            waiting.append(request)
        return waiting

    async def _abort(self, waiting: list[Request]) -> None:
        """Cells that were waiting when one failed do not run; the rest does."""
        for request in waiting:
            if request.msg_type == "execute_request":
                self.protocol.publish("status", '{"execution_state": "busy"}', request.header)
                self._reply(request, {"status": "aborted"})
                self.protocol.publish("status", '{"execution_state": "idle"}', request.header)
            else:
                await self._answer(request)

    # Requests -------------------------------------------------------------

    async def _on_execute_request(self, message: dict) -> dict[str, Any]:
        content, shell = message["content"], self.shell
        silent = content.get("silent", False)
        code = content["code"]
        if not silent:
            self.session.send(
                None,
                "execute_input",
                {"code": code, "execution_count": shell.execution_count},
                parent=message,
            )
        with self._stdin(content.get("allow_stdin", False)):
            result = await self._run_cell(
                code,
                store_history=content.get("store_history", not silent) and not silent,
                silent=silent,
                cell_id=message["metadata"].get("cellId"),
            )
        error = result.error_before_exec or result.error_in_exec
        reply: dict[str, Any] = {"execution_count": shell.execution_count - 1}
        if error is None and not shell._last_traceback_during_displayhook:
            reply["status"] = "ok"
            reply["user_expressions"] = shell.user_expressions(
                content.get("user_expressions") or {}
            )
        else:
            reply |= _error_reply(error, shell._last_traceback or [])
            reply["user_expressions"] = {}
        reply["payload"] = shell.payload_manager.read_payload()
        shell.payload_manager.clear_payload()
        sys.stdout.flush()
        return reply

    async def _run_cell(self, code: str, *, store_history: bool, silent: bool, cell_id):
        shell = self.shell
        shell._last_traceback = None
        shell._last_traceback_during_displayhook = False
        failure = None
        try:
            transformed = shell.transform_cell(code)
        except Exception:
            transformed, failure = code, sys.exc_info()
        options = {"store_history": store_history, "silent": silent, "cell_id": cell_id}
        awaits = shell.should_run_async(
            code, transformed_cell=transformed, preprocessing_exc_tuple=failure
        )
        if not awaits:
            with _interruptible():
                return shell.run_cell(code, **options)
        task = asyncio.ensure_future(
            shell.run_cell_async(
                code, transformed_cell=transformed, preprocessing_exc_tuple=failure, **options
            )
        )
        result = None
        with _interrupt_cancels(task):
            try:
                result = await task
            finally:
                shell.events.trigger("post_execute")
                if not silent:
                    shell.events.trigger("post_run_cell", result)
        return result

    async def _on_complete_request(self, message: dict) -> dict[str, Any]:
        from IPython.core.completer import provisionalcompleter, rectify_completions

        content = message["content"]
        code, cursor = content["code"], content.get("cursor_pos")
        cursor = len(code) if cursor is None else cursor
        with provisionalcompleter(), _interruptible():
            raw = self.shell.Completer.completions(code, cursor)
            found = list(rectify_completions(code, raw))
        start, end = (found[0].start, found[0].end) if found else (cursor, cursor)
        types = [
            {
                "start": c.start,
                "end": c.end,
                "text": c.text,
                "type": c.type,
                "signature": c.signature,
            }
            for c in found
        ]
        return {
            "matches": [c.text for c in found],
            "cursor_start": start,
            "cursor_end": end,
            "metadata": {"_jupyter_types_experimental": types},
            "status": "ok",
        }

    async def _on_inspect_request(self, message: dict) -> dict[str, Any]:
        from IPython.utils.tokenutil import token_at_cursor

        content = message["content"]
        code = content["code"]
        name = token_at_cursor(code, content.get("cursor_pos", len(code)))
        reply = {"status": "ok", "data": {}, "metadata": {}, "found": False}
        if magics.sql_of(code) is not None:
            with _interruptible(), contextlib.suppress(ValueError, NameError, OSError):
                cursor = content.get("cursor_pos", len(code))
                said = magics.inspect(self.shell.slaf_sessions, code, cursor)
                if said is not None:
                    return reply | {"data": {"text/plain": said}, "found": True}
        try:
            bundle = self.shell.object_inspect_mime(
                name, detail_level=content.get("detail_level", 0)
            )
        except KeyError:
            return reply
        return reply | {"data": bundle, "found": True}

    async def _on_is_complete_request(self, message: dict) -> dict[str, Any]:
        status, indent = self.shell.input_transformer_manager.check_complete(
            message["content"]["code"]
        )
        reply = {"status": status}
        return reply | {"indent": " " * indent} if status == "incomplete" else reply

    async def _on_history_request(self, message: dict) -> dict[str, Any]:
        content, manager = message["content"], self.shell.history_manager
        raw, output = content.get("raw", True), content.get("output", False)
        access = content["hist_access_type"]
        if access == "tail":
            found = manager.get_tail(content["n"], raw=raw, output=output, include_latest=True)
        elif access == "range":
            found = manager.get_range(
                content["session"], content["start"], content["stop"], raw=raw, output=output
            )
        else:
            found = manager.search(
                content["pattern"],
                raw=raw,
                output=output,
                n=content.get("n"),
                unique=content.get("unique", False),
            )
        # IPython calls the running session 0.
        current = manager.session_number
        history = [(session or current, line, text) for session, line, text in found]
        return {"status": "ok", "history": history}

    async def _on_comm_info_request(self, message: dict) -> dict[str, Any]:
        target = message["content"].get("target_name")
        comms = {
            key: {"target_name": comm.target_name}
            for key, comm in self.comm_manager.comms.items()
            if target in (None, comm.target_name)
        }
        return {"status": "ok", "comms": comms}

    async def _on_comm_open(self, message: dict) -> None:
        self.comm_manager.comm_open(None, None, message)

    async def _on_comm_msg(self, message: dict) -> None:
        with _interruptible():
            self.comm_manager.comm_msg(None, None, message)

    async def _on_comm_close(self, message: dict) -> None:
        self.comm_manager.comm_close(None, None, message)

    # input() --------------------------------------------------------------

    @contextlib.contextmanager
    def _stdin(self, allowed: bool):
        """`input` and `getpass` ask the front end, if it answers at all."""
        from IPython.core.error import StdinNotImplementedError

        request = self._request

        def ask(prompt: object, password: bool) -> str:
            if not allowed:
                raise StdinNotImplementedError(
                    "This front end does not answer input requests; set the value in a cell."
                )
            line = self.protocol.input(str(prompt), password, request)
            if line == "\x04":
                raise EOFError
            return line

        saved = builtins.input, getpass.getpass
        builtins.input = lambda prompt="": ask(prompt, False)
        getpass.getpass = lambda prompt="Password: ", stream=None, **_: ask(prompt, True)
        try:
            yield
        finally:
            builtins.input, getpass.getpass = saved


@contextlib.contextmanager
def _interruptible():
    """SIGINT raises KeyboardInterrupt here, and is ignored between cells."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _interrupt_cancels(task: asyncio.Task):
    """SIGINT cancels an awaiting cell; in Python code of the cell it raises."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _error_reply(error: BaseException | None, lines: list[str]) -> dict[str, Any]:
    return {
        "status": "error",
        "ename": type(error).__name__,
        "evalue": str(error),
        "traceback": list(lines),
    }


def _dumps(value: Any) -> str:
    try:
        return json.dumps(value, default=json_default, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # JSON has no NaN: a display that holds one is sent with null.
        return json.dumps(_finite(value), default=json_default, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
