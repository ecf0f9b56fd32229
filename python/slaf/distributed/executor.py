"""`with executor(...)`: chooses who runs the tasks of the functions inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from slaf._slaf import SlafError, nearest
from slaf.distributed.engine import Engine, Lost
from slaf.distributed.payload import packed, unpacked
from slaf.ground.hints import did_you_mean
from slaf.ground.progress import in_notebook
from slaf.ground.workers import working

#: How often a task is begun before its failure is told.
_TRIES = 3
#: Tasks that are sent or wait to be merged, for each worker.
_AHEAD = 3


@dataclass
class Tally:
    """What has been done so far."""

    tasks: int = 0
    #: Tasks that were begun again.
    again: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class Executor:
    """Workers of an engine, as :func:`executor` gives them.

    Attributes
    ----------
    tally
        Tasks and bytes so far.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self.tally = Tally()

    @property
    def n_workers(self) -> int:
        """Tasks that are done at once."""
        return self._engine.n_workers

    def map(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """`work(task)` of each task, in the order of the tasks, each once. A task whose
        worker dies, or that meets an OSError, is begun again.

        Raises
        ------
        SlafError
            Workers died of a task three times, or the engine cannot be reached.
        """
        pass_ = _Pass(self._engine, self.tally, work, tasks)
        progress = in_notebook()
        try:
            for done, found in enumerate(pass_.results(), 1):
                if progress is not None:
                    progress("tasks", done, len(tasks))
                yield found
        finally:
            pass_.cancel()
            if progress is not None:
                progress.close()


class _Pass:
    """Tasks on their way."""

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
                        f"Workers died {_TRIES} times of a task{_reason(lost)}. They may lack "
                        "memory: give each more, or take fewer workers a machine."
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
    """Lets workers do what is done inside the `with`: verbs of `slaf.scanpy`, sums and
    the like of lazy matrices, exact searches, conversions.

    Parameters
    ----------
    engine
        "processes" of this machine, "dask" or "ray"; "auto": the active
        `dask.distributed.Client` or the initialised Ray.
    address
        Of a Dask scheduler or a Ray cluster; None: a local one, which ends with the
        `with`, or the Ray that is initialised already.
    n_workers
        Of a local one; by default a worker a processor.

    Raises
    ------
    ImportError
        The engine is not installed.
    SlafError
        There is nothing at `address`, or no engine is active ("auto").
    """
    if engine == "auto":
        engine = _active()
    opened = _open(engine, address, n_workers)
    try:
        workers = Executor(opened)
        with working(workers):
            yield workers
    finally:
        opened.close()


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
            raise ValueError("The engine 'processes' is of this machine and has no `address`.")
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
