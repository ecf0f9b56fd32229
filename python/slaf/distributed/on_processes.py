"""Runs tasks on processes of this machine, with `concurrent.futures`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess

from slaf.distributed.engine import UNGUARDED, Lost, without_interrupts
from slaf.distributed.task_bytes import run

#: Limits each worker to one thread of BLAS.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Several threads can start engines at the same time, and all change the environment.
_LOCK = threading.Lock()


class Processes:
    """A pool of processes, which is replaced when one of them dies."""

    def __init__(self, n_workers: int | None):
        self.n_workers = n_workers or len(os.sched_getaffinity(0))
        self._pool = self._begun()

    def _begun(self) -> ProcessPoolExecutor:
        # Threads of the engine do not survive a fork.
        return ProcessPoolExecutor(self.n_workers, get_context("spawn"), initializer=_begin)

    def submit(self, payload: bytes) -> Future[bytes]:
        with _LOCK, _one_thread_each(), without_interrupts():
            try:
                return self._pool.submit(run, payload)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False)
                self._pool = self._begun()
                return self._pool.submit(run, payload)

    def wait(self, running: Sequence[Future[bytes]]) -> Sequence[Future[bytes]]:
        return list(wait(running, return_when=FIRST_COMPLETED).done)

    def result(self, done: Future[bytes]) -> bytes:
        try:
            return done.result()
        except BrokenProcessPool:
            raise Lost(UNGUARDED) from None

    def cancel(self, running: Sequence[Future[bytes]]) -> None:
        for future in running:
            future.cancel()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start inside inherit `_THREADS` from the environment."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin() -> None:
    """Runs first in a worker, which ends when the driver ends."""
    driver = parent_process()
    assert driver is not None
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: BaseProcess) -> None:
    connection.wait([driver.sentinel])
    os._exit(1)
