"""What a running kernel is to IPython, to comms and to libraries: ipykernel's,
whose sockets are in Rust."""

from __future__ import annotations

import builtins
import contextlib
import getpass
import inspect
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import comm
from ipykernel.compiler import XCachingCompiler
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelbase import Kernel as KernelBase
from IPython.core.async_helpers import _asyncio_runner
from IPython.core.error import StdinNotImplementedError
from jupyter_client.session import extract_header

from slaf.kernel import streams
from slaf.kernel.limit import Limit
from slaf.kernel.shell import ZMQInteractiveShell
from slaf.kernel.subshells import Subshells
from slaf.kernel.timing import timed, with_clocks
from slaf.kernel.wire import WireSession, error_reply, said
from slaf.notebook import magics

if TYPE_CHECKING:
    from slaf._slaf import Kernel, Request
    from slaf.kernel.app import KernelApp

#: IPython's shells take the metadata of a cell since 9.
_CELL_META = "cell_meta" in inspect.signature(ZMQInteractiveShell.run_cell).parameters


class SlafKernel(IPythonKernel):
    """The one kernel of the process."""

    implementation = "slaf"
    #: ipykernel's trait imports debugpy at once, which takes as long as all else.
    debugger_class = None

    def __init__(self, protocol: Kernel, app: KernelApp):
        # IPythonKernel's own would make its debugger.
        KernelBase.__init__(
            self,
            parent=app,
            session=WireSession(protocol),
            profile_dir=app.profile_dir,
            log=app.log,
        )
        self.protocol = protocol
        self.subshells = Subshells(self)
        self.kernel_modules = [f for m in [*sys.modules.values()] if (f := _file(m))]
        KernelBase._instance = self
        self.limit = Limit()
        # Without a namespace of its own: then `__main__` is a plain module, as
        # dill wants it.
        self.shell = shell = ZMQInteractiveShell.instance(
            parent=self,
            profile_dir=app.profile_dir,
            kernel=self,
            compiler_class=XCachingCompiler,
        )
        shell.displayhook.session = shell.display_pub.session = self.session
        shell.displayhook.topic = b"execute_result"
        if name := os.environ.get("JPY_SESSION_NAME"):
            shell.user_ns["__session__"] = name
        self.comm_manager = comm.get_comm_manager()
        shell.configurables.append(self.comm_manager)
        builtins.input = self.raw_input
        getpass.getpass = self.getpass
        streams.follow_threads(self)

    # Which request code answers ---------------------------------------------

    def enter(self, request: Request, message: dict[str, Any], *, main: bool) -> None:
        """What the calling context does from here on answers `request`."""
        streams.enter(request, everywhere=main)
        if main:
            self.set_parent(request.identities, message)
        else:
            self.return_to((request, message))

    def place(self) -> tuple[Request | None, dict[str, Any]]:
        """Where output of the calling context goes, for `return_to`."""
        return streams.current(), self.get_parent("shell")

    def return_to(self, place: tuple[Request | None, dict[str, Any]]) -> None:
        """Output of the calling thread goes to `place` from here on."""
        request, message = place
        if request is not None:
            streams.enter(request, everywhere=False)
            self._shell_parent.set(message)
            if hasattr(self.shell, "set_thread_parent"):
                self.shell.set_thread_parent(message)
            else:  # ipykernel 7.3, the last for Python 3.10
                self.shell._parent_header.set(message)
                for told in (self.shell.displayhook, self.shell.display_pub):
                    told._parent_header.set(extract_header(message))

    # input() ------------------------------------------------------------------

    def raw_input(self, prompt: object = "") -> str:
        """`input`, asked of the front end that sent the running cell."""
        return self._ask(prompt, password=False)

    def getpass(self, prompt: object = "Password: ", stream=None, *, echo_char=None) -> str:
        """`getpass.getpass`, asked of the front end that sent the running cell."""
        return self._ask(prompt, password=True)

    def ask_if_answered(self) -> Callable[[str, bool], str] | None:
        """What asks the front end, if that answers."""
        return (
            (lambda prompt, secret: self._ask(prompt, password=secret)) if self._answers else None
        )

    @property
    def _answers(self) -> bool:
        return bool(self.get_parent("shell").get("content", {}).get("allow_stdin"))

    def _ask(self, prompt: object, *, password: bool) -> str:
        if not self._answers:
            raise StdinNotImplementedError(
                "This front end does not answer input requests; set the value in a cell."
            )
        line = self.protocol.input(said(str(prompt)), password, streams.current())
        if line == "\x04":
            raise EOFError
        return line

    # Cells ----------------------------------------------------------------------

    async def do_execute(
        self,
        code,
        silent,
        store_history=True,
        user_expressions=None,
        allow_stdin=False,
        *,
        cell_meta=None,
        cell_id=None,
    ):
        """Runs a cell and gives the content of its reply."""
        shell = self.shell
        options = {"silent": silent, "store_history": store_history and not silent}
        if _CELL_META:
            options["cell_meta"] = cell_meta
        with shell.forgetting(not options["store_history"]):
            result = await self._run_cell(code, cell_id=cell_id, **options)
        error = self.limit.named(result.error_before_exec or result.error_in_exec)
        reply: dict[str, Any] = {"execution_count": shell.execution_count - 1}
        if error is None and not shell._last_traceback_during_displayhook:
            reply["status"] = "ok"
            reply["user_expressions"] = shell.user_expressions(user_expressions or {})
        else:
            reply |= error_reply(error, shell._last_traceback or [])
            reply["user_expressions"] = {}
        reply["payload"] = shell.payload_manager.read_payload()
        shell.payload_manager.clear_payload()
        return reply

    async def _run_cell(self, code: str, **options):
        shell = self.shell
        shell._last_traceback = None
        shell._last_traceback_during_displayhook = False
        failure = clocks = None
        try:
            transformed, clocks = timed(shell, shell.transform_cell(code))
        except Exception:
            transformed, failure = code, sys.exc_info()
        how = {"transformed_cell": transformed, "preprocessing_exc_tuple": failure}
        # `%autoawait trio` has a loop of its own.
        ours = shell.loop_runner is _asyncio_runner
        if not (ours and shell.should_run_async(code, **how)):
            return shell.run_cell(code, **options)
        result = None
        try:
            # Not a task of its own: what it sets in the context stays.
            with with_clocks(shell, clocks):
                result = await shell.run_cell_async(code, **how, **options)
        finally:
            shell.events.trigger("post_execute")
            if not options["silent"]:
                shell.events.trigger("post_run_cell", result)
        return result

    # Questions --------------------------------------------------------------------

    def do_inspect(self, code, cursor_pos, detail_level=0, omit_sections=()):
        if magics.sql_of(code) is not None:
            with contextlib.suppress(ValueError, NameError, OSError):
                said = magics.inspect(self.shell.slaf_sessions, code, cursor_pos)
                if said is not None:
                    data = {"text/plain": said}
                    return {"status": "ok", "found": True, "data": data, "metadata": {}}
        return super().do_inspect(code, cursor_pos, detail_level, omit_sections)

    def do_history(self, hist_access_type, output, raw, **more):
        reply = super().do_history(hist_access_type, output, raw, **more)
        # IPython calls the running session 0.
        current = self.shell.history_manager.session_number
        reply["history"] = [(session or current, *rest) for session, *rest in reply["history"]]
        return reply

    # What libraries ask for -------------------------------------------------------

    @property
    def shell_channel_thread(self):
        """For `%subshell`."""
        return SimpleNamespace(manager=self.subshells)

    @property
    def _supports_kernel_subshells(self) -> bool:
        return True

    async def do_one_iteration(self) -> None:
        """Handles the messages to comms that wait, for a cell that polls."""
        await self.server.answer_comms()


def _file(module: object) -> str | None:
    return getattr(module, "__file__", None)
