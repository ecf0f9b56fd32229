"""Batches that Polars fetches in its own threads. A fetch can still be running when a plan
has enough rows and the interpreter shuts down, which would crash the process. So the
interpreter waits for the batch."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Iterator

import polars as pl

#: How many seconds the interpreter waits for a batch when it shuts down, and for Polars
#: to release it.
_PATIENCE, _LAST = 10.0, 0.05


class Batches:
    """An iterator that ends when the interpreter shuts down."""

    def __init__(self, batches: Iterator[pl.DataFrame]):
        self._batches = batches

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> pl.DataFrame:
        with _FETCHES:
            return next(self._batches)


class _Fetches:
    """Counts the batches that are being fetched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number, self._ending = 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._ending:
                raise StopIteration
            self._number += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._number -= 1

    def end(self) -> None:
        """Stops new fetches, and waits for those that are running."""
        with self._lock:
            self._ending, some = True, self._number > 0
        deadline = time.monotonic() + _PATIENCE
        while self._number and time.monotonic() < deadline:
            time.sleep(0.01)
        if some:
            time.sleep(_LAST)


_FETCHES = _Fetches()
atexit.register(_FETCHES.end)
