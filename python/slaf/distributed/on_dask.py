"""Runs tasks on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from slaf._slaf import SlafError
from slaf.distributed.engine import Lost
from slaf.distributed.task_bytes import run

try:
    import distributed
except ImportError:
    raise ImportError(
        "The engine 'dask' needs dask.distributed: `pip install slaf-jupyter[dask]`."
    ) from None

#: Seconds to wait for the answer of a scheduler.
_PATIENCE = 20


class Dask:
    """A client of a cluster. `owned` is closed with it."""

    def __init__(self, client: distributed.Client, *owned: Any):
        self._client, self._owned = client, owned

    @classmethod
    def active(cls) -> Dask:
        return cls(distributed.default_client())

    @classmethod
    def at(cls, address: str | None, n_workers: int | None) -> Dask:
        if address is None:
            cluster = distributed.LocalCluster(
                n_workers=n_workers or len(os.sched_getaffinity(0)),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
            )
            client = distributed.Client(cluster, set_as_default=False)
            return cls(client, client, cluster)
        try:
            client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SlafError(f"There is no Dask scheduler at `{address}`: {error}.") from None
        return cls(client, client)

    @property
    def n_workers(self) -> int:
        return sum(self._client.nthreads().values())

    def submit(self, payload: bytes) -> distributed.Future:
        return self._client.submit(run, payload, pure=False)

    def wait(self, running: Sequence[distributed.Future]) -> Sequence[distributed.Future]:
        # `wait` uses the current client, which may be another one.
        with self._client.as_current(), _scheduler():
            return list(distributed.wait(running, return_when="FIRST_COMPLETED").done)

    def result(self, done: distributed.Future) -> bytes:
        try:
            with _scheduler():
                return done.result()
        except distributed.KilledWorker:
            raise Lost from None
        except ModuleNotFoundError as error:
            raise SlafError(
                f"A Dask worker has no `{error.name}`: install slaf-jupyter there, of the version "
                "that is here."
            ) from None

    def cancel(self, running: Sequence[distributed.Future]) -> None:
        self._client.cancel(running)

    def close(self) -> None:
        for each in self._owned:
            each.close()


@contextmanager
def _scheduler() -> Iterator[None]:
    """Turns the loss of the scheduler into a clear error."""
    try:
        yield
    except distributed.CancelledError:
        raise SlafError("The Dask scheduler has gone, and the tasks with it.") from None
