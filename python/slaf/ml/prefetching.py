"""A loader's batches made by the workers of a cluster: the requests to them, and their
work."""

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
from slaf.ml.clusters import Tasks
from slaf.ml.dataloaders import Numbered, SLAFDataLoader

#: Loaders of this process, for the tasks to come: key of the recipe → loader.
_LOADERS: dict[str, SLAFDataLoader] = {}
#: How many are kept.
_KEPT = 4


@dataclass(frozen=True)
class Span:
    """Batches of an epoch, which one task makes."""

    epoch: int
    first: int
    count: int


@dataclass(frozen=True)
class Recipe:
    """What workers make their loaders of."""

    #: What it is known by.
    key: str
    #: The package's version that it is of.
    version: str
    #: What stands for the parameters of a :class:`SLAFDataLoader`, pickled.
    content: Any

    @classmethod
    def of(cls, parameters: dict[str, Any], tasks: Tasks) -> Recipe:
        content = tasks.share(tasks.pickled(parameters))
        return cls(uuid.uuid4().hex, __version__, content)


def make(key: str, version: str, content: Any, span: Span) -> tuple[int, list[dict[str, Any]]]:
    """The batches of a span, and their bytes: a worker's task. Otherwise its arguments
    are of a :class:`Recipe`."""
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
    """Batches in order, while those that follow are made.

    Parameters
    ----------
    tasks, recipe
        Where they are made, and of what.
    spans
        What is to be made, in order.
    at_once
        Tasks that run at a time.
    budget
        Bytes of batches that are made, being made, or handed out: no more is begun
        beyond them.
    a_batch
        Bytes of a batch, about; None: it is not known before the first is made, which
        is waited for.
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
        # The most that was found.
        self._found = 0
        self._next = next(spans, None)
        self._begun: deque[tuple[Span, Any]] = deque()
        #: Bytes that are being handed out.
        self._held = 0
        self._stopped = False

    def batches(self) -> Iterator[Numbered]:
        """Each batch once, with its epoch and number."""
        self.fill()
        while self._begun:
            span, task = self._begun.popleft()
            self._held, made = self._tasks.result(task)
            self._a_batch = self._found = max(self._found, self._held // len(made))
            # Nothing of the cluster's holds the batches any longer.
            del task
            for at, batch in enumerate(made):
                self.fill()
                made[at] = None
                yield span.epoch, span.first + at, batch
            self._held = 0
            self.fill()

    def fill(self) -> None:
        """Begins what may be begun."""
        if self._stopped:
            raise SlafError("The workers of this iteration were stopped. Iterate anew to go on.")
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
        """Batches that are made and not yet asked for."""
        return sum(span.count for span, task in self._begun if self._tasks.ready([task]))

    @property
    def idle(self) -> bool:
        """Whether nothing is being made."""
        return self._ready() == len(self._begun)

    def stop(self) -> None:
        """Ends all work."""
        self._stopped = True
        begun = [task for _, task in self._begun]
        self._begun.clear()
        self._tasks.cancel(begun)
