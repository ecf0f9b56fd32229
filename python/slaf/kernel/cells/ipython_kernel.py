"""ipykernel's kernel object without its sockets: runs cells and answers questions."""

from __future__ import annotations

import builtins
import contextlib
import getpass
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any

import comm
from ipykernel.compiler import XCachingCompiler
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelbase import Kernel as KernelBase
from IPython.core.async_helpers import _asyncio_runner
from IPython.core.error import StdinNotImplementedError
from jupyter_client.session import extract_header

from slaf.kernel.cells.shell import ZMQInteractiveShell
from slaf.kernel.cells.time_magic import inline_timed_code, transformed_by
from slaf.kernel.messages.errors import error_reply
from slaf.kernel.messages.json_text import without_surrogates
from slaf.kernel.messages.session import KernelSession
from slaf.kernel.output.current_request import current, set_everywhere, set_in_context
from slaf.notebook import magics

if TYPE_CHECKING:
    from ipykernel.kernelapp import IPKernelApp

    from slaf._slaf import Kernel, Request
    from slaf.kernel.cells.terminal_command import Ask

#: Whether IPython's shells take the metadata of a cell; they do since 9.
_TAKES_METADATA = "cell_meta" in inspect.signature(ZMQInteractiveShell.run_cell).parameters

#: The request that started some code, and its message: where output of the code goes.
Origin = tuple["Request | None", dict[str, Any]]


class CellKernel(IPythonKernel):
    """What IPython, comms and libraries take for their kernel.

    The names with an underscore that it uses of its shell and of its base classes
    are ipykernel's, whose own kernel uses them in the same way.
    """

    implementation = "slaf"
    #: ipykernel's default imports debugpy at once, which takes as long as all else.
    debugger_class = None

    def __init__(self, protocol: Kernel, app: IPKernelApp):
        # Not IPythonKernel's, which makes its debugger.
        KernelBase.__init__(
            self,
            parent=app,
            session=KernelSession(protocol),
            profile_dir=app.profile_dir,
            log=app.log,
        )
        self.protocol = protocol
        #: To the debugger, the files of these modules are not user code.
        self.kernel_modules = [
            file for m in [*sys.modules.values()] if (file := getattr(m, "__file__", None))
        ]
        KernelBase._instance = self
        # Without a namespace of its own: then `__main__` is a plain module, as dill
        # needs it.
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

    # Which request code answers ---------------------------------------------

    def enter(self, request: Request, message: dict[str, Any], *, main: bool) -> None:
        """From here on, the calling context answers `request`. `main` is whether this
        is the main thread."""
        if main:
            set_everywhere(request)
            self.set_parent(request.identities, message)
        else:
            self.return_to((request, message))

    def origin(self) -> Origin:
        """The request, and its message, to which output of the calling context
        belongs."""
        return current(), self.get_parent("shell")

    def return_to(self, origin: Origin) -> None:
        """From here on, output of the calling thread goes to `origin`."""
        request, message = origin
        if request is not None:
            set_in_context(request)
            self._shell_parent.set(message)
            if hasattr(self.shell, "set_thread_parent"):
                self.shell.set_thread_parent(message)
            else:  # ipykernel 7.3, the last for Python 3.10
                self.shell._parent_header.set(message)
                for publisher in (self.shell.displayhook, self.shell.display_pub):
                    publisher._parent_header.set(extract_header(message))

    # input() ------------------------------------------------------------------

    def raw_input(self, prompt: object = "") -> str:
        """`input`: asks the front end that sent the running cell."""
        return self._ask(prompt, password=False)

    def getpass(self, prompt: object = "Password: ", stream=None, *, echo_char=None) -> str:
        """`getpass.getpass`: asks the front end that sent the running cell."""
        return self._ask(prompt, password=True)

    def line_asker(self) -> Ask | None:
        """The function that asks the front end for a line; `None` if the front end
        cannot answer."""
        if not self._front_end_answers:
            return None
        return lambda prompt, secret: self._ask(prompt, password=secret)

    @property
    def _front_end_answers(self) -> bool:
        return bool(self.get_parent("shell").get("content", {}).get("allow_stdin"))

    def _ask(self, prompt: object, *, password: bool) -> str:
        if not self._front_end_answers:
            raise StdinNotImplementedError(
                "This front end does not answer input requests; set the value in a cell."
            )
        line = self.protocol.input(without_surrogates(str(prompt)), password, current())
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
        """Runs a cell and returns the content of its reply."""
        shell = self.shell
        options = {"silent": silent, "store_history": store_history and not silent}
        if _TAKES_METADATA:
            options["cell_meta"] = cell_meta
        with shell.keeping_outputs(options["store_history"]):
            result = await self._run_cell(code, cell_id=cell_id, **options)
        error = shell.time_limit.as_timeout(result.error_before_exec or result.error_in_exec)
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
        failure = add_timers = None
        try:
            transformed, add_timers = inline_timed_code(shell, shell.transform_cell(code))
        except Exception:
            transformed, failure = code, sys.exc_info()
        prepared = {"transformed_cell": transformed, "preprocessing_exc_tuple": failure}
        # `%autoawait trio` brings a loop of its own.
        in_our_loop = shell.loop_runner is _asyncio_runner
        if not (in_our_loop and shell.should_run_async(code, **prepared)):
            return shell.run_cell(code, **options)
        result = None
        try:
            # In this task, so that context variables it sets are kept.
            with transformed_by(shell, add_timers):
                result = await shell.run_cell_async(code, **prepared, **options)
        finally:
            shell.events.trigger("post_execute")
            if not options["silent"]:
                shell.events.trigger("post_run_cell", result)
        return result

    # Questions --------------------------------------------------------------------

    def do_inspect(self, code, cursor_pos, detail_level=0, omit_sections=()):
        if magics.sql_of(code) is not None:
            with contextlib.suppress(ValueError, NameError, OSError):
                text = magics.inspect(self.shell.slaf_sessions, code, cursor_pos)
                if text is not None:
                    data = {"text/plain": text}
                    return {"status": "ok", "found": True, "data": data, "metadata": {}}
        return super().do_inspect(code, cursor_pos, detail_level, omit_sections)

    def do_history(self, hist_access_type, output, raw, **more):
        reply = super().do_history(hist_access_type, output, raw, **more)
        # IPython calls the running session 0.
        running = self.shell.history_manager.session_number
        reply["history"] = [(session or running, *rest) for session, *rest in reply["history"]]
        return reply
