"""Makes the batches of a loader on the workers of a cluster: the requests, and the code
that runs in a worker."""

from __future__ import annotations

import pickle
import sys
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scipy import sparse

from slaf._slaf import SlafError, __version__
from slaf.ml.cluster_tasks import Tasks
from slaf.ml.dataloaders import Numbered, SLAFDataLoader

#: The loaders of this process, kept for later tasks: key of the recipe → loader.
_LOADERS: dict[str, SLAFDataLoader] = {}
#: The number of loaders to keep.
_KEPT = 4


@dataclass(frozen=True)
class Span:
    """Consecutive batches of an epoch. One task makes them."""

    epoch: int
    first: int
    count: int


@dataclass(frozen=True)
class Recipe:
    """The data from which a worker makes its loader."""

    #: Identifies the recipe.
    key: str
    #: The version of slaf-jupyter that made it.
    version: str
    #: The pickled parameters of a :class:`SLAFDataLoader`, as :meth:`Tasks.share` returns
    #: them.
    content: Any

    @classmethod
    def of(cls, parameters: dict[str, Any], tasks: Tasks) -> Recipe:
        content = tasks.share(tasks.pickled(parameters))
        return cls(uuid.uuid4().hex, __version__, content)


def make(key: str, version: str, content: Any, span: Span) -> tuple[int, list[dict[str, Any]]]:
    """A worker's task: makes the batches of a span. Returns their bytes and the batches.
    The other arguments are the attributes of a :class:`Recipe`."""
    loader = _LOADERS.get(key)
    if loader is None:
        if version != __version__:
            raise SlafError(
                f"A worker has slaf-jupyter {__version__}, and the loader is of {version}. Install "
                "the same version on all nodes."
            )
        while len(_LOADERS) >= _KEPT:
            _LOADERS.pop(next(iter(_LOADERS)), None)
        loader = _LOADERS[key] = SLAFDataLoader(**pickle.loads(content))
    batches = list(loader.part(span.epoch, span.first, span.count))
    return sum(map(_bytes, batches)), batches


def _bytes(batch: dict[str, Any]) -> int:
    total = 0
    for value in batch.values():
        if sparse.issparse(value):
            total += value.data.nbytes + value.indices.nbytes + value.indptr.nbytes
        elif hasattr(value, "estimated_size"):
            total += value.estimated_size()
        else:
            total += getattr(value, "nbytes", sys.getsizeof(value))
    return total


class Prefetch:
    """Hands out batches in order, while workers make the next ones.

    Parameters
    ----------
    tasks, recipe
        The cluster, and the data for its loaders.
    spans
        The batches to make, in order.
    at_once
        The most tasks that run at the same time.
    budget
        The most bytes of batches that are made, being made, or handed out. No task is
        started that would exceed it.
    a_batch
        About how many bytes a batch has. If None, the first task is waited for before
        others start, because the size is not known earlier.
    """

    def __init__(
        self,
        tasks: Tasks,
        recipe: Recipe,
        spans: Iterator[Span],
        at_once: int,
        budget: int,
        a_batch: int | None,
    ):
        self._tasks, self._recipe = tasks, recipe
        self._spans, self._at_once, self._budget = spans, at_once, budget
        self._a_batch = a_batch
        # The greatest number of bytes per batch so far.
        self._found = 0
        self._next = next(spans, None)
        self._begun: deque[tuple[Span, Any]] = deque()
        #: Bytes of the task whose batches are being handed out.
        self._held = 0
        self._stopped = False

    def batches(self) -> Iterator[Numbered]:
        """Yields each batch once, with its epoch and number."""
        self.fill()
        while self._begun:
            span, task = self._begun.popleft()
            self._held, made = self._tasks.result(task)
            self._a_batch = self._found = max(self._found, self._held // len(made))
            # Lets the cluster free the batches.
            del task
            for at, batch in enumerate(made):
                self.fill()
                made[at] = None
                yield span.epoch, span.first + at, batch
            self._held = 0
            self.fill()

    def fill(self) -> None:
        """Starts as many tasks as the limits allow."""
        if self._stopped:
            raise SlafError("The workers of this iteration were stopped. Start a new iteration.")
        while self._next is not None and self._has_room(self._next):
            of = self._recipe
            task = self._tasks.submit(make, of.key, of.version, of.content, self._next)
            self._begun.append((self._next, task))
            self._next = next(self._spans, None)

    def _has_room(self, span: Span) -> bool:
        if not self._begun and not self._held:
            return True
        if self._a_batch is None:
            return False
        waiting = sum(begun.count for begun, _ in self._begun)
        if self._held + (waiting + span.count) * self._a_batch > self._budget:
            return False
        return len(self._begun) - self._ready() < self._at_once

    def _ready(self) -> int:
        return self._tasks.ready([task for _, task in self._begun])

    @property
    def made(self) -> int:
        """The number of batches that are made and not yet handed out."""
        return sum(span.count for span, task in self._begun if self._tasks.ready([task]))

    @property
    def idle(self) -> bool:
        """Whether no task is running."""
        return self._ready() == len(self._begun)

    def stop(self) -> None:
        """Cancels all tasks."""
        self._stopped = True
        begun = [task for _, task in self._begun]
        self._begun.clear()
        self._tasks.cancel(begun)
