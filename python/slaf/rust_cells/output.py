"""Shows what a Rust cell prints, and which crates are compiled for it."""

from __future__ import annotations

import codecs
import sys
from contextlib import ExitStack

from slaf.ground.progress import Job, job

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


class CompileProgress(ExitStack):
    """Shows from the first crate on which one is compiled."""

    def __init__(self):
        super().__init__()
        self._job: Job | None = None

    def __call__(self, crate: str) -> None:
        """A crate is being compiled."""
        if self._job is None:
            self._job = self.enter_context(job("compiling", unit="crate"))
        self._job.note = crate
        self._job(self._job.done + 1)
