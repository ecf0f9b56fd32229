"""Progress of jobs that take over half a second. All jobs of a cell, or of a process, are
shown in one place: in a notebook, on a terminal, or as lines of a log. `SLAF_PROGRESS=0`
in the environment shows none."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator

from slaf.ground import progress_views as views
from slaf.ground.progress_views import Job

#: Called with the name of a stage, how much of it is done, and its total.
Progress = Callable[[str, int, int], None]

#: Stage → its title, and the unit in which it is counted.
_STAGES = {
    "cells": ("X", "cell"),
    "raw": ("raw", "cell"),
    "genes": ("X by gene", "value"),
    "tokens": ("tokens", "cell"),
}
#: Seconds before a job is shown, and between two drawings.
_DELAY, _TICK = 0.5, 0.1


@contextlib.contextmanager
def job(title: str, total: int | None = None, unit: str = "") -> Iterator[Job]:
    """Shows the progress of the code inside the `with`, if it takes long. Call the job
    with the amount that is done. A job with the same unit as one around it is not
    shown."""
    made = Job(title, total, unit)
    board = _board()
    board.begin(made)
    try:
        yield made
    except GeneratorExit:
        board.leave(made)
        raise
    except BaseException:
        board.end(made, failed=True)
        raise
    board.end(made)


@contextlib.contextmanager
def stages(progress: Progress | None) -> Iterator[Progress]:
    """`progress` itself; if it is None, a function that shows each stage as a job."""
    if progress is not None:
        yield progress
        return
    with contextlib.ExitStack() as running:
        stage, made = "", Job("")

        def report(what: str, done: int, total: int) -> None:
            nonlocal stage, made
            if what != stage or done < made.done:
                running.close()
                title, unit = _STAGES.get(what, (what, ""))
                stage, made = what, running.enter_context(job(title, total, unit))
                # An earlier, interrupted call may have done a part.
                made.start = done
            made(done, total)

        yield report


@contextlib.contextmanager
def shown_by(show: Callable[[str], None]) -> Iterator[None]:
    """Inside the `with`, `show` gets the progress as HTML, and "" at the end."""
    board = _Board(views.Notebook(lambda bundle: show(bundle["text/html"])))
    token = _OWN.set(board)
    try:
        yield
    finally:
        _OWN.reset(token)
        show("")


def add_bytes(number: int) -> None:
    """Adds bytes that were read or written to the running job."""
    for made in _board().jobs[-1:]:
        made.bytes += number


class _Board:
    """The jobs of a cell, or of a process, the outermost first, and where they are shown."""

    def __init__(self, view: views.View):
        self.jobs: list[Job] = []
        #: Title → the last job of a generator that its reader has left.
        self._left: dict[str, Job] = {}
        self._view = view
        #: Where output of this cell goes.
        self._context = contextvars.copy_context()

    def begin(self, made: Job) -> None:
        if not views.are_wanted():
            return
        with _LOCK:
            if not any(made.unit and made.unit == outer.unit for outer in self.jobs):
                self.jobs.append(made)
                _ACTIVE.add(self)
                _TICKER.wake()

    def end(self, made: Job, *, failed: bool = False) -> None:
        with _LOCK:
            if made not in self.jobs:
                return
            made.end(failed)
            self.jobs.remove(made)
            if not self.jobs:
                _ACTIVE.discard(self)
            self._show_end(made)

    def leave(self, made: Job) -> None:
        """Ends the job of a generator: its reader wants no more, or has failed. Which of
        the two it is, is only known at the end of the cell."""
        with _LOCK:
            if made in self.jobs:
                self._left[made.title] = made
                self.end(made)

    def draw(self) -> None:
        with _LOCK:
            if self.jobs and self.jobs[0].seconds >= _DELAY:
                self._show()

    def _show_end(self, made: Job) -> None:
        if made.seconds >= _DELAY:
            self._show(made)

    def _show(self, ended: Job | None = None) -> None:
        # The job continues even if its progress cannot be shown: stderr may be a closed
        # pipe.
        with contextlib.suppress(Exception):
            self._context.run(self._view.show, [*self.jobs], ended)

    def close(self, *, failed: bool) -> None:
        """Ends the remaining jobs, such as those of generators that nobody has closed. If
        the cell has `failed`, so have the generators that it left."""
        for made in reversed([*self.jobs]):
            self.end(made, failed=failed)
        with _LOCK:
            for made in self._left.values() if failed else ():
                made.failed = True
                self._show_end(made)
            self._left.clear()


class _Ticker:
    """A thread that draws the boards while there are jobs."""

    def __init__(self):
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._stops = False

    def wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slaf-progress", daemon=True)
            self._thread.start()
        self._wanted.set()

    def stop(self) -> None:
        """Ends the thread before Python exits. Drawing during the exit would abort the
        process."""
        with _LOCK:
            self._stops = True
            self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while self._wanted.wait() and not self._stops:
            time.sleep(_TICK)
            for board in [*_ACTIVE]:
                board.draw()
            with _LOCK:
                if not (_ACTIVE or self._stops):
                    self._wanted.clear()


def _board() -> _Board:
    """The board of the running cell, or of the process."""
    if (own := _OWN.get()) is not None:
        return own
    shell = views.shell()
    cell = None if shell is None else views.cell_of(shell)
    with _LOCK:
        board = _BOARDS.get(cell)
        if board is None:
            for old in _BOARDS.keys() - {key for key, board in _BOARDS.items() if board.jobs}:
                del _BOARDS[old]
            view = views.Stream() if cell is None else views.Notebook(views.Output())
            board = _BOARDS[cell] = _Board(view)
            if shell is not None:
                _close_after_cell(shell, cell, board)
        return board


def _close_after_cell(shell, cell: str | None, board: _Board) -> None:
    def close(result=None) -> None:
        # A cell of another thread may be the one that has ended.
        if views.cell_of(shell) == cell:
            board.close(failed=result is None or not result.success)
            if cell is not None:
                shell.events.unregister("post_run_cell", close)

    shell.events.register("post_run_cell", close)


_LOCK = threading.RLock()
_TICKER = _Ticker()
#: The boards with jobs.
_ACTIVE: set[_Board] = set()
#: The id of the request that runs a cell (None outside of notebooks) → its board.
_BOARDS: dict[str | None, _Board] = {}
_OWN: contextvars.ContextVar[_Board | None] = contextvars.ContextVar("slaf_board", default=None)


def _begin_anew() -> None:
    """Runs in a forked process, which does not have the thread, and where the lock may
    be held forever."""
    global _LOCK, _TICKER
    _LOCK, _TICKER = threading.RLock(), _Ticker()
    _ACTIVE.clear()
    _BOARDS.clear()


os.register_at_fork(after_in_child=_begin_anew)
atexit.register(lambda: _TICKER.stop())
