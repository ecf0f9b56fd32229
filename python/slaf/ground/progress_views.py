"""How progress is shown: below a notebook's cell, in a line of a terminal, or as lines of
a log."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol, TextIO

from slaf.ground.sizes import share, size


@dataclass(eq=False)
class Job:
    """A job whose progress is shown."""

    title: str
    #: The total amount; None or 0 if it is unknown.
    total: int | None = None
    #: The unit, in the singular; "byte" for amounts of memory.
    unit: str = ""
    done: int = 0
    #: The amount that was done before the job began.
    start: int = 0
    bytes: int = 0
    #: The current step, in a word.
    note: str = ""
    failed: bool = False
    _begun: float = field(default_factory=time.monotonic)
    #: The seconds before the current step.
    _before: float = 0.0
    _ended: float | None = None

    def __call__(self, done: int, total: int | None = None, bytes: int | None = None) -> None:
        """Sets the amount that is done, the total if it is known, and the number of
        bytes read. If less is done than before, the next step has begun."""
        if done < self.done:
            self.start, self._before = done, self.seconds
        self.done = done
        self.total = self.total if total is None else total
        self.bytes = self.bytes if bytes is None else bytes

    def end(self, failed: bool) -> None:
        self._ended, self.failed = time.monotonic(), failed

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._begun

    def amount(self) -> str:
        """`450,000 of 1,000,000 cells`."""
        if self.unit == "byte":
            return f"{size(self.done)} of {size(self.total)}" if self.total else size(self.done)
        if self.total:
            return f"{self.done:,} of {_counted(self.total, self.unit)}"
        return _counted(self.done, self.unit) if self.done else ""

    def words(self) -> str:
        """The amount that is done, the speed, and the time left."""
        rate = (self.done - self.start) / max(self.seconds - self._before, 1e-9)
        parts = [self.note, self.amount()]
        if self.total:
            parts.insert(1, share(self.done, self.total))
        if rate and self.unit:
            few = f"{rate:,.3g}" if rate < 100 else f"{rate:,.0f}"
            parts.append(f"{size(rate) if self.unit == 'byte' else few} a second")
        if self.bytes:
            parts.append(size(self.bytes))
        if self.total and rate:
            parts.append(f"{_time((self.total - self.done) / rate)} left")
        else:
            parts.append(_time(self.seconds))
        return f"{self.title}: {' · '.join(part for part in parts if part)}"

    def outcome(self) -> str:
        """The amount that was done, and the time it took."""
        took = _time(self.seconds)
        if self.failed:
            return f"{self.title}: stopped {f'at {n} ' if (n := self.amount()) else ''}after {took}"
        done = size(self.done) if self.unit == "byte" else _counted(self.done, self.unit)
        what = f"{done} in " if self.done else ""
        read = f", {size(self.bytes)}" if self.bytes else ""
        return f"{self.title}: {what}{took}{read}"

    def add(self, later: Job) -> None:
        """Adds a later job with the same title."""
        self.done += later.done
        self.bytes += later.bytes
        self._ended = self._begun + self.seconds + later.seconds


class View(Protocol):
    """Where jobs are shown."""

    def show(self, jobs: list[Job], ended: Job | None = None) -> None:
        """Shows the jobs that run, the outermost first, and one that has just ended."""


#: Characters of a bar on a terminal.
_BAR = 16

_QUIET: ContextVar[bool] = ContextVar("slaf_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Shows no progress inside the `with`; used in workers."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


def are_wanted() -> bool:
    """Whether progress is shown: not in workers, and not if `SLAF_PROGRESS` is off."""
    off = os.environ.get("SLAF_PROGRESS", "").lower() in ("0", "off", "no", "false")
    return not (off or _QUIET.get() or multiprocessing.parent_process() is not None)


def shell() -> Any:
    """IPython's shell, if this is its process."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def cell_of(shell: Any) -> str | None:
    """The id of the request that runs a cell; None on a terminal."""
    kernel = getattr(shell, "kernel", None)
    header = {} if kernel is None else kernel.get_parent().get("header", {})
    return header.get("msg_id")


class Output:
    """The place below a notebook's cell."""

    def __init__(self):
        self._display: Any = None

    def __call__(self, bundle: dict[str, str]) -> None:
        from IPython.display import display

        if self._display is None:
            self._display = display(bundle, raw=True, display_id=True)
        else:
            self._display.update(bundle, raw=True)


class Notebook:
    """A bar for each job, and a line about those that have ended."""

    _PAUSE = 0.25

    def __init__(self, publish: Callable[[dict[str, str]], None]):
        self._publish = publish
        #: Title → the ended jobs with this title, added up.
        self._past: dict[str, Job] = {}
        self._drawn = 0.0

    def show(self, jobs: list[Job], ended: Job | None = None) -> None:
        if ended is None:
            if time.monotonic() - self._drawn < self._PAUSE:
                return
        elif jobs:
            return
        elif ended.title in self._past and not ended.failed:
            self._past[ended.title].add(ended)
        else:
            self._past[ended.title] = ended
        self._drawn = time.monotonic()
        self._publish(self._bundle(jobs))

    def _bundle(self, jobs: list[Job]) -> dict[str, str]:
        past = " · ".join(made.outcome() for made in self._past.values())
        lines = [past] if past else []
        html = [f'<div style="opacity:.75">{escape(past)}</div>'] if past else []
        for depth, made in enumerate(jobs):
            lines.append("  " * depth + made.words())
            html.append(
                f'<div style="padding-left:{depth}em">{_bar(made)} {escape(made.words())}</div>'
            )
        style = "font-size:13px;line-height:1.5;font-variant-numeric:tabular-nums"
        return {
            "text/plain": "\n".join(lines),
            "text/html": f'<div style="{style}">{"".join(html)}</div>',
        }


class Stream:
    """Stderr. On a terminal, one line is redrawn; otherwise lines are printed, at first
    every 5 seconds, later every minute."""

    _PAUSE, _LONGEST = 5.0, 60.0

    def __init__(self):
        self._printed_at: dict[Job, float] = {}

    def show(self, jobs: list[Job], ended: Job | None = None) -> None:
        stream = sys.stderr
        if stream is None or stream.closed or _others_draw():
            return
        if stream.isatty():
            _draw(stream, jobs)
        elif ended is not None:
            if self._printed_at.pop(ended, None) is not None:
                print(ended.outcome(), file=stream, flush=True)
        elif jobs:
            self._say(stream, jobs)

    def _say(self, stream: TextIO, jobs: list[Job]) -> None:
        inner = jobs[-1]
        pause = min(self._LONGEST, max(self._PAUSE, self._printed_at.get(inner, 0.0)))
        if inner.seconds >= self._printed_at.get(inner, 0.0) + pause:
            self._printed_at[inner] = inner.seconds
            path = "".join(f"{made.title} {made.amount()}, " for made in jobs[:-1])
            print(path + inner.words(), file=stream, flush=True)


def _others_draw() -> bool:
    """Whether the user's own tqdm bar is running."""
    tqdm = sys.modules.get("tqdm")
    return tqdm is not None and bool(getattr(tqdm.tqdm, "_instances", None))


def _draw(stream: TextIO, jobs: list[Job]) -> None:
    """Draws the innermost job, after the titles of those around it, over the previous
    line."""
    line, width = "", shutil.get_terminal_size().columns - 1
    if jobs:
        inner = jobs[-1]
        path = "".join(f"{made.title} {made.done}/{made.total or '?'} › " for made in jobs[:-1])
        bar = ""
        if inner.total:
            filled = round(_BAR * inner.done / inner.total)
            bar = f"{'█' * filled}{'░' * (_BAR - filled)} "
        line = f"{bar}{path}{inner.words()}"
    # The cursor returns to the first column, where other output then begins.
    stream.write(f"\r{line[:width].ljust(width)}\r")
    stream.flush()


def _bar(job: Job) -> str:
    value = f' value="{job.done / job.total:.3f}"' if job.total else ""
    label = escape(job.title)
    return f'<progress{value} max="1" aria-label="{label}" style="width:12em"></progress>'


def _counted(number: int, unit: str) -> str:
    plural = "" if number == 1 or not unit else "es" if unit.endswith("ch") else "s"
    return f"{number:,} {unit}{plural}".strip()


def _time(seconds: float) -> str:
    """`3.2 s`, `45 s`, `2:05`, `1:02:05`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
