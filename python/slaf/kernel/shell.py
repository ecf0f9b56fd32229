"""IPython's shell, as libraries know it from ipykernel."""

from __future__ import annotations

import builtins
import contextlib
import sys
from collections.abc import Iterator
from functools import cached_property

from ipykernel import zmqshell
from IPython.core import history
from IPython.core.error import UsageError

from slaf.kernel.interrupt import forget_handler
from slaf.kernel.streams import OutStream
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

    def _get_exc_info(self, exc_tuple=None):
        etype, value, trace = super()._get_exc_info(exc_tuple)
        forget_handler(trace)
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

    def init_sys_modules(self) -> None:
        super().init_sys_modules()
        sys.modules["__main__"] = self.user_module
