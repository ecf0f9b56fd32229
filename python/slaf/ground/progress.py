"""Progress of a long job: bars on a terminal and in notebooks, and occasional lines in a
log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

#: Told what is going on, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]

#: What is counted in each stage, and what the stage is called.
_STAGES = {
    "cells": ("X", "cell"),
    "raw": ("raw", "cell"),
    "genes": ("X by gene", "value"),
    "download": ("download", "B"),
    "expression": ("expression", "row"),
    "tasks": ("tasks", "task"),
}
#: Seconds between two lines of a log, and before a bar appears in a notebook.
_PAUSE, _DELAY = 5.0, 1.0


class Bars:
    """A bar for each stage, with its rate and the time left."""

    def __init__(self, make: Any, **options: Any):
        self._make, self._options = make, options
        self._bar: Any = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self._what or (self._bar is not None and done < self._bar.n):
            self.close()
            title, unit = _STAGES.get(what, (what, "it"))
            self._what = what
            self._bar = self._make(
                total=total, desc=title, unit=f" {unit}", unit_scale=True, **self._options
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""


class Lines:
    """A line every few seconds, and one at the end of each long stage."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._what, self._begun, self._said = "", 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._begun, self._said = what, now, now
        if now - self._said < _PAUSE:
            return
        self._said = now
        title, unit = _STAGES.get(what, (what, "it"))
        rate = done / max(now - self._begun, 1e-9)
        left = (total - done) / rate if rate else float("inf")
        share = 100 * done / total if total else 100.0
        print(
            f"{title}: {done:,} of {total:,} {unit}s ({share:.0f} %), {rate:,.0f} a second, "
            f"{left:.0f} s left",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        """Does nothing: lines stay."""


def on_terminal() -> Bars | Lines:
    """Bars if stderr is a terminal, lines if it is a file."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        return Bars(tqdm, leave=False, file=sys.stderr)
    return Lines(sys.stderr)


def in_notebook() -> Bars | None:
    """Bars below a notebook's cell, if a job takes long; None outside of notebooks."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    if not hasattr(get_ipython(), "kernel"):
        return None
    import warnings

    with warnings.catch_warnings():
        # Without ipywidgets, the bar is shown as text.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return Bars(tqdm, delay=_DELAY)
