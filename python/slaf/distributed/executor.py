"""`with executor(...)`: chooses the workers that run the tasks of the functions inside."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from slaf._slaf import SlafError, nearest
from slaf.distributed.engine import Engine, Lost
from slaf.distributed.task_bytes import packed, unpacked
from slaf.ground.hints import did_you_mean
from slaf.ground.progress import job
from slaf.ground.workers import working

#: Attempts at a task before its failure is reported.
_TRIES = 3
#: Maximum number of tasks per worker that are running or have results that are not yet
#: returned. Results are returned in the order of the tasks.
_AHEAD = 3


@dataclass
class Tally:
    """Counts what has been done so far."""

    tasks: int = 0
    #: Tasks that were started again.
    again: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class Executor:
    """The workers of an engine; :func:`executor` makes it.

    Attributes
    ----------
    tally
        The numbers of tasks and bytes so far.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        #: Closes the engine, once: on `close`, or when the interpreter exits.
        self.close = weakref.finalize(self, engine.close)
        self.tally = Tally()

    @property
    def n_workers(self) -> int:
        """The number of tasks that run at the same time."""
        return self._engine.n_workers

    def map(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """`work(task)` for each task, once each, in the order of the tasks. A task is
        started again if its worker dies, or if it raises an OSError other than
        FileNotFoundError.

        Raises
        ------
        SlafError
            Three workers died while they ran the same task, or the engine cannot be
            reached.
        """
        pass_ = _Pass(self._engine, self.tally, work, tasks)
        try:
            with job("tasks", len(tasks), "task") as running:
                for done, found in enumerate(pass_.results(), 1):
                    running(done)
                    yield found
        finally:
            # An iterator that was left early may be closed after the executor.
            if self.close.alive:
                pass_.cancel()


class _Pass:
    """The tasks of one call of :meth:`Executor.map`."""

    def __init__(
        self, engine: Engine, tally: Tally, work: Callable[[Any], Any], tasks: Sequence[Any]
    ):
        self.engine, self.tally, self.work, self.tasks = engine, tally, work, tasks
        #: Handle of the engine → number of the task.
        self.running: dict[Any, int] = {}
        self.found: dict[int, Any] = {}
        self.tries: dict[int, int] = {}

    def results(self) -> Iterator[Any]:
        sent = 0
        for number in range(len(self.tasks)):
            while number not in self.found:
                ahead = _AHEAD * max(1, self.engine.n_workers)
                while sent < len(self.tasks) and len(self.running) + len(self.found) < ahead:
                    self._send(sent)
                    sent += 1
                self._take()
            yield self.found.pop(number)

    def _send(self, number: int) -> None:
        payload = packed(self.work, self.tasks[number])
        self.tries[number] = self.tries.get(number, 0) + 1
        self.tally.bytes_sent += len(payload)
        self.running[self.engine.submit(payload)] = number

    def _take(self) -> None:
        for handle in self.engine.wait(list(self.running)):
            number = self.running.pop(handle)
            try:
                answer = self.engine.result(handle)
                self.tally.bytes_received += len(answer)
                self.found[number] = unpacked(answer)
                self.tally.tasks += 1
            except Lost as lost:
                if self.tries[number] == _TRIES:
                    raise SlafError(
                        f"Workers died {_TRIES} times during a task{_reason(lost)}. They may lack "
                        "memory: give each more, or use fewer workers per machine."
                    ) from None
                self._again(number)
            except FileNotFoundError:
                raise
            except OSError:
                if self.tries[number] == _TRIES:
                    raise
                self._again(number)

    def _again(self, number: int) -> None:
        self.tally.again += 1
        self._send(number)

    def cancel(self) -> None:
        if self.running:
            self.engine.cancel(list(self.running))
            self.running.clear()


def _reason(lost: Lost) -> str:
    return f" ({lost})" if str(lost) else ""


_ENGINES = ("processes", "dask", "ray")


@contextmanager
def executor(
    engine: str = "auto", address: str | None = None, *, n_workers: int | None = None
) -> Iterator[Executor]:
    """Runs the work inside the `with` on workers: functions of `slaf.scanpy`, reductions of
    lazy matrices such as sums, exact searches, and conversions.

    Parameters
    ----------
    engine
        "processes" (on this machine), "dask", "ray", or "auto": the active
        `dask.distributed.Client`, or the Ray that is initialised.
    address
        The address of a Dask scheduler or a Ray cluster. None: a local cluster, which
        ends with the `with`, or the Ray that is initialised already.
    n_workers
        The number of local workers; by default one per processor.

    Raises
    ------
    ImportError
        The engine is not installed.
    SlafError
        There is no cluster at `address`, or with "auto" no engine is active.
    """
    if engine == "auto":
        engine = _active()
    workers = Executor(_open(engine, address, n_workers))
    try:
        with working(workers):
            yield workers
    finally:
        workers.close()


def _active() -> str:
    if "distributed" in sys.modules:
        from distributed import default_client

        try:
            default_client()
            return "active dask"
        except ValueError:
            pass
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return "ray"
    raise SlafError(
        "No engine is active: make a `dask.distributed.Client`, call `ray.init`, or name one of "
        f"{', '.join(map(repr, _ENGINES))}."
    )


def _open(engine: str, address: str | None, n_workers: int | None) -> Engine:
    if n_workers is not None and n_workers < 1:
        raise ValueError(f"`n_workers` is at least 1, not {n_workers}.")
    if engine == "processes":
        if address is not None:
            raise ValueError("The engine 'processes' runs on this machine and takes no `address`.")
        from slaf.distributed.on_processes import Processes

        return Processes(n_workers)
    if engine in ("dask", "active dask"):
        from slaf.distributed.on_dask import Dask

        return Dask.active() if engine == "active dask" else Dask.at(address, n_workers)
    if engine == "ray":
        from slaf.distributed.on_ray import Ray

        return Ray(address, n_workers)
    near = did_you_mean(nearest(engine, list(_ENGINES)))
    raise ValueError(f"There is no engine {engine!r}: {' or '.join(map(repr, _ENGINES))}.{near}")
