"""Shows what a Rust cell prints, and how far its compilation is."""

from __future__ import annotations

import codecs
import sys
import time
from typing import Any

#: Most bytes of a cell that are shown. A notebook with more is hard to open.
_MOST = 16 << 20
#: Bytes of stderr that are kept for the message of an error.
_KEPT = 4096


class PrintedText:
    """Passes the cell's stdout and stderr on to the session's."""

    def __init__(self):
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: make("replace") for name in ("stdout", "stderr")}
        self._printed = 0
        self.end_of_stderr = ""

    def write(self, name: str, data: bytes) -> None:
        text = self._decoders[name].decode(data)
        if name == "stderr":
            self.end_of_stderr = (self.end_of_stderr + text)[-_KEPT:]
        left = _MOST - self._printed
        self._printed += len(data)
        if left > 0:
            getattr(sys, name).write(text[:left])

    def close(self) -> None:
        for name, decoder in self._decoders.items():
            getattr(sys, name).write(decoder.decode(b"", final=True))
        if self._printed > _MOST:
            print(
                f"\n… {self._printed - _MOST:,} more bytes are not shown: a cell prints at most "
                f"{_MOST >> 20} MiB.",
                file=sys.stderr,
            )


class CompileProgress:
    """A line below a notebook's cell that says which crate is compiled. A terminal
    only gets the first and the last text."""

    #: Least seconds between two changes of the line.
    _PAUSE = 0.2

    def __init__(self, first: str | None = None):
        self._begun = time.monotonic()
        self._crates = 0
        self._changed = 0.0
        self._line: Any = None
        #: Whether Rust itself starts, and not a cell.
        self._starts = first is not None
        if first is not None:
            self._show(first)

    def __call__(self, crate: str) -> None:
        """A crate is being compiled."""
        self._crates += 1
        now = time.monotonic()
        if now - self._changed >= self._PAUSE:
            self._changed = now
            self._show(f"Compiling {crate} ({self._crates})")

    def close(self, done: bool = True) -> None:
        if self._line is None:
            return
        took = f"{time.monotonic() - self._begun:.1f} s"
        if self._starts:
            self._show(f"Rust is ready ({took})." if done else "Rust did not start.", last=True)
        else:
            self._show(f"Compiled {self._crates} crates in {took}.", last=True)

    def _show(self, text: str, last: bool = False) -> None:
        from IPython import get_ipython
        from IPython.display import display

        if not hasattr(get_ipython(), "kernel"):
            if self._line is None or last:
                print(text, file=sys.stderr)
            self._line = text
            return
        bundle = {"text/plain": text}
        if self._line is None:
            self._line = display(bundle, raw=True, display_id=True)
        else:
            self._line.update(bundle, raw=True)
