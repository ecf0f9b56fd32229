"""IPython's shell, with what this kernel does differently from ipykernel."""

from __future__ import annotations

import builtins
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from ipykernel import zmqshell
from IPython.core import history, interactiveshell
from IPython.core.error import UsageError

from slaf.kernel.cells import terminal_command
from slaf.kernel.cells.gui_loop import GuiLoop
from slaf.kernel.cells.interrupts import hide_handler
from slaf.kernel.cells.time_limit import TimeLimit
from slaf.kernel.cells.time_magic import Timer
from slaf.kernel.messages.errors import text_of, traceback_of
from slaf.kernel.output.streams import OutStream

#: Matplotlib's backends that draw inside the notebook, without windows.
_INLINE = ("", "asyncio", "inline", "agg", "widget", "ipympl", "nbagg", "notebook")

#: Exceptions that IPython prints instead of showing a traceback.
_PRINTED = (UsageError, getattr(builtins, "BaseExceptionGroup", UsageError))


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """It has the name of ipykernel's shell: rich, pandas and others look for that
    name to know that they are in a notebook."""

    @cached_property
    def time_limit(self) -> TimeLimit:
        return TimeLimit()

    @cached_property
    def gui_loop(self) -> GuiLoop:
        return GuiLoop()

    @cached_property
    def timer(self) -> Timer:
        return Timer()

    @property
    def slaf_verbs(self) -> dict[str, Callable[[str], Any]]:
        """Subcommands of `%slaf` that exist only in this kernel."""
        return {"timeout": self.time_limit.magic}

    # Errors. The names with an underscore are IPython's, which calls them. ----------

    def _get_exc_info(self, exc_tuple=None):
        etype, value, trace = super()._get_exc_info(exc_tuple)
        hide_handler(trace)
        if (timeout := self.time_limit.as_timeout(value)) is not value:
            return type(timeout), timeout, trace
        return etype, value, trace

    def showtraceback(self, exc_tuple=None, *arguments, **options) -> None:
        """Shows an exception even if its own methods fail."""
        self._last_traceback = None
        try:
            super().showtraceback(exc_tuple, *arguments, **options)
        except Exception:
            self._last_traceback = None
        etype, value, _ = exc_tuple or sys.exc_info()
        if self._last_traceback is None and not isinstance(value, (*_PRINTED, type(None))):
            self._showtraceback(etype, value, traceback_of(value))

    def _format_exception_for_storage(self, exception, *arguments, **options):
        exception = self.time_limit.as_timeout(exception)
        try:
            return super()._format_exception_for_storage(exception, *arguments, **options)
        except Exception:
            name = type(exception).__name__
            return {"ename": name, "evalue": text_of(exception), "traceback": []}

    def _showtraceback(self, etype, evalue, stb) -> None:
        super()._showtraceback(etype, text_of(evalue), stb)

    # Magics ---------------------------------------------------------------------------

    def enable_gui(self, gui=None) -> None:
        """Opens windows of a toolkit; `None` for none."""
        if gui not in _INLINE:
            self.gui_loop.enable(gui)

    def system_piped(self, cmd: str) -> None:
        """`!cmd`. The front end is asked for the command's input."""
        if cmd.rstrip().endswith("&"):
            raise OSError(
                "A `!` command cannot run in the background; `subprocess.Popen` starts one "
                "that can."
            )
        command = self.var_expand(cmd, depth=1)
        status = terminal_command.run(command, self.kernel.line_asker())
        self.user_ns["_exit_code"] = status
        if status != 0 and getattr(self, "system_raise_on_error", False):
            raise subprocess.CalledProcessError(status, cmd)

    system = system_piped

    # Output that `%notebook` stores
    # ----------------------------------------------------

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """Keeps the text that a cell prints, up to 1 MiB.

        IPython's own method calls Python for each piece that is written, and keeps
        all of them as long as the kernel runs."""
        stream, outputs = getattr(sys, channel), self.history_manager.outputs
        if not isinstance(stream, OutStream):
            yield
            return
        count = self.execution_count
        at = len(outputs.get(count, ()))
        stream.kept()
        try:
            yield
        finally:
            if text := stream.kept():
                kind = "out_stream" if channel == "stdout" else "err_stream"
                kept = history.HistoryOutput(output_type=kind, bundle={"stream": [text]})
                outputs[count].insert(at, kept)

    @contextlib.contextmanager
    def keeping_outputs(self, keep: bool) -> Iterator[None]:
        """With `keep=False`, the outputs of a cell inside the `with` are not stored.
        IPython would store them even for cells that are not in the history."""
        outputs, count = getattr(self.history_manager, "outputs", {}), self.execution_count
        before = len(outputs.get(count, ()))
        try:
            yield
        finally:
            if not keep and len(outputs.get(count, ())) > before:
                del outputs[count][before:]
                if not before:
                    del outputs[count]

    # `__main__` -----------------------------------------------------------------------

    def init_user_ns(self) -> None:
        super().init_user_ns()
        # IPython's `open` claims to be Python's. dill would not find it there, and
        # would save it with all names of its module, open files among them.
        own_open = self.user_ns.get("open")
        if getattr(interactiveshell, "_modified_open", None) is own_open is not None:
            own_open.__module__, own_open.__qualname__ = interactiveshell.__name__, "_modified_open"

    def init_sys_modules(self) -> None:
        super().init_sys_modules()
        sys.modules["__main__"] = self.user_module
