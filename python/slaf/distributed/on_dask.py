"""Runs tasks on a Dask cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from slaf._slaf import SlafError
from slaf.distributed.engine import PATIENCE, UNGUARDED, Lost, Patience, without_interrupts
from slaf.distributed.task_bytes import run

try:
    import dask
    import distributed
    from dask.utils import parse_timedelta
except ImportError:
    raise ImportError(
        "The engine 'dask' needs dask.distributed: `pip install slaf-jupyter[dask]`."
    ) from None

T = TypeVar("T")

#: Seconds to wait for the answer of a scheduler.
_PATIENCE = 20
#: Seconds between two checks for workers.
_TICK = 5


class Dask:
    """A client of a cluster. `owned` is closed with it."""

    def __init__(self, client: distributed.Client, *owned: Any):
        self._client, self._owned = client, owned
        self._patience = Patience()
        self._threads = ThreadPoolExecutor(thread_name_prefix="slaf-dask")

    @classmethod
    def active(cls) -> Dask:
        return cls(distributed.default_client())

    @classmethod
    def at(cls, address: str | None, n_workers: int | None) -> Dask:
        if address is None:
            try:
                # Dask's thread that starts workers, also later ones, is started in this
                # block.
                with without_interrupts():
                    cluster = distributed.LocalCluster(
                        n_workers=n_workers or len(os.sched_getaffinity(0)),
                        threads_per_worker=1,
                        dashboard_address="127.0.0.1:0",
                    )
            except RuntimeError as error:
                raise SlafError(f"No local Dask worker starts ({error}); {UNGUARDED}.") from None
            client = distributed.Client(cluster, set_as_default=False)
            return cls(client, client, cluster)
        try:
            client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SlafError(f"There is no Dask scheduler at `{address}`: {error}.") from None
        return cls(client, client)

    @property
    def n_workers(self) -> int:
        return sum(self._in_thread(self._client.nthreads).values())

    def _in_thread(self, question: Callable[[], T]) -> T:
        """The result of `question`, which runs in another thread. In this thread,
        Dask's wait would fail if an interrupt came just before it."""
        return self._threads.submit(question).result()

    def submit(self, payload: bytes) -> distributed.Future:
        with warnings.catch_warnings():
            # A task contains its part of a matrix in memory, which can be large.
            warnings.filterwarnings("ignore", "Sending large graph")
            return self._client.submit(run, payload, pure=False)

    def wait(self, running: Sequence[distributed.Future]) -> Sequence[distributed.Future]:
        def first() -> Sequence[distributed.Future]:
            # `wait` uses the current client, which may be another one.
            with self._client.as_current(), _scheduler():
                return list(distributed.wait(running, _TICK, return_when="FIRST_COMPLETED").done)

        while True:
            try:
                return self._in_thread(first)
            except distributed.TimeoutError:
                self._patience.check(self.n_workers, self._lonely(), _patience())

    def _lonely(self) -> str:
        address = self._client.scheduler.address
        return f"The Dask cluster has no workers: start some, with `dask worker {address}`."

    def result(self, done: distributed.Future) -> bytes:
        try:
            with _scheduler():
                return self._in_thread(done.result)
        except distributed.KilledWorker:
            raise Lost from None
        except ModuleNotFoundError as error:
            raise SlafError(
                f"A Dask worker has no `{error.name}`: install slaf-jupyter there, in the same "
                "version as here."
            ) from None

    def cancel(self, running: Sequence[distributed.Future]) -> None:
        self._in_thread(lambda: self._client.cancel(running))

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        for each in self._owned:
            closed(each)


def closed(owned: Any) -> None:
    """Closes a client or a cluster."""
    # If workers were killed, Dask may raise this after it has closed everything.
    with suppress(KeyError):
        owned.close()


def _patience() -> float:
    """Seconds to wait for workers; Dask has a setting for it."""
    setting = dask.config.get("distributed.scheduler.no-workers-timeout", None)
    return PATIENCE if setting is None else parse_timedelta(setting)


@contextmanager
def _scheduler() -> Iterator[None]:
    """Turns the loss of the scheduler into a clear error."""
    try:
        yield
    except distributed.CancelledError:
        raise SlafError("The Dask scheduler has ended, and its tasks are lost.") from None
