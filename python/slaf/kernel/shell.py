"""IPython's shell, as libraries know it from ipykernel."""

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

from slaf.kernel import terminal
from slaf.kernel.interrupt import forget_handler
from slaf.kernel.streams import OutStream
from slaf.kernel.timing import Clocks
from slaf.kernel.windows import Windows
from slaf.kernel.wire import text_of, traceback_of

#: What figures and widgets are drawn with inside the notebook.
_INLINE = ("", "asyncio", "inline", "agg", "widget", "ipympl", "nbagg", "notebook")

#: What IPython prints instead.
_PRINTED = (UsageError, getattr(builtins, "BaseExceptionGroup", UsageError))


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):
    """Has ipykernel's name: rich, pandas and others look for it to know that
    they are in a notebook."""

    @cached_property
    def windows(self) -> Windows:
        return Windows()

    @cached_property
    def clocks(self) -> Clocks:
        return Clocks()

    def _get_exc_info(self, exc_tuple=None):
        etype, value, trace = super()._get_exc_info(exc_tuple)
        forget_handler(trace)
        if (named := self.kernel.limit.named(value)) is not value:
            return type(named), named, trace
        return etype, value, trace

    def showtraceback(self, exc_tuple=None, *arguments, **options) -> None:
        """An exception that fails while it is shown is an error like any other."""
        self._last_traceback = None
        try:
            super().showtraceback(exc_tuple, *arguments, **options)
        except Exception:
            self._last_traceback = None
        etype, value, _ = exc_tuple or sys.exc_info()
        if self._last_traceback is None and not isinstance(value, (*_PRINTED, type(None))):
            self._showtraceback(etype, value, traceback_of(value))

    def _format_exception_for_storage(self, exception, *arguments, **options):
        exception = self.kernel.limit.named(exception)
        try:
            return super()._format_exception_for_storage(exception, *arguments, **options)
        except Exception:
            name = type(exception).__name__
            return {"ename": name, "evalue": text_of(exception), "traceback": []}

    def _showtraceback(self, etype, evalue, stb) -> None:
        super()._showtraceback(etype, text_of(evalue), stb)

    def enable_gui(self, gui=None) -> None:
        """Windows of a toolkit; `None` for none."""
        if gui not in _INLINE:
            self.windows.enable(gui)

    def system_piped(self, cmd: str) -> None:
        """`!cmd`; what the command asks is asked of the front end."""
        if cmd.rstrip().endswith("&"):
            raise OSError(
                "A command of `!` cannot go on in the background; `subprocess.Popen` starts one "
                "that can."
            )
        status = terminal.run(self.var_expand(cmd, depth=1), self.kernel.ask_if_answered())
        self.user_ns["_exit_code"] = status
        if status != 0 and getattr(self, "system_raise_on_error", False):
            raise subprocess.CalledProcessError(status, cmd)

    system = system_piped

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """Keeps the text of a cell, for `%notebook`. IPython's own calls Python
        for each piece that is written, and keeps all of them as long as it runs."""
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
    def forgetting(self, forget: bool) -> Iterator[None]:
        """What a cell shows that is not to be remembered is not kept for `%notebook`
        either; IPython keeps it for ever."""
        kept, count = getattr(self.history_manager, "outputs", {}), self.execution_count
        before = len(kept.get(count, ()))
        try:
            yield
        finally:
            if forget and len(kept.get(count, ())) > before:
                del kept[count][before:]
                if not before:
                    del kept[count]

    @property
    def slaf_verbs(self) -> dict[str, Callable[[str], Any]]:
        """What `%slaf` can do in our kernel only."""
        return {"timeout": self.kernel.limit.verb}

    def init_user_ns(self) -> None:
        super().init_user_ns()
        # IPython's `open` says that it is Python's, which it is not: dill would
        # save it with all that its module knows, open files among it.
        given = self.user_ns.get("open")
        if getattr(interactiveshell, "_modified_open", None) is given is not None:
            given.__module__, given.__qualname__ = interactiveshell.__name__, "_modified_open"

    def init_sys_modules(self) -> None:
        super().init_sys_modules()
        sys.modules["__main__"] = self.user_module
