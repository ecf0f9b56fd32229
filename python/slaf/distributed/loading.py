"""Names that users of slafdb import from its package of the same name. slafdb's loader uses
them to build batches from samples in a Modal queue. Our
:class:`slaf.ml.distributed.DistributedSLAFDataLoader` does not use them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from slaf.ml.aggregators import GeneformerWindow, SimpleWindow
from slaf.ml.table_schema import DataSchema

__all__ = [
    "Coordinator",
    "DataSchema",
    "DataSource",
    "PartitionAssignment",
    "Shuffle",
    "Window",
]

_LOADER = "`slaf.ml.distributed.DistributedSLAFDataLoader`"
#: Names that do not exist here → what to use instead.
_INSTEAD = {
    "BatchProcessor": f"{_LOADER} makes batches of cells, and takes a function as `tokenizer`",
    "DecompressingQueueWrapper": f"{_LOADER} has no queue",
    "DistributedDataLoader": f"{_LOADER} has no queue, and iterates by itself",
    "GroupBoundaryHandler": "cells are read whole, so there are no parts of them to join",
    "LanceDataSource": "`slaf.scan` and `slaf.ray.read_slaf` read the values of a dataset",
    "prefetch_worker": f"{_LOADER} sends its own tasks to Ray or Dask",
}


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        raise ImportError(f"There is no `{name}` here: {_INSTEAD[name]}.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class DataSource(ABC):
    """Rows of a long table in partitions, which are read one after the other."""

    @abstractmethod
    def get_partition_count(self) -> int:
        """The number of partitions."""

    @abstractmethod
    def create_reader(self, partition_index: int, batch_size: int) -> Iterator[pl.DataFrame]:
        """The rows of a partition, `batch_size` at a time."""


@dataclass
class PartitionAssignment:
    """The partitions of a worker."""

    worker_id: str
    partition_indices: list[int]


class Coordinator:
    """Distributes the partitions of a source among workers."""

    def __init__(self, data_source: DataSource, n_workers: int):
        self.data_source, self.n_workers = data_source, n_workers
        self.total_partitions = data_source.get_partition_count()

    def assign_partitions(self, seed: int = 42) -> dict[str, PartitionAssignment]:
        """Worker ("worker_0", "worker_1", …) → its partitions. Each partition has one
        worker, the numbers of partitions differ by at most one, and the same seed gives
        the same order."""
        order = list(range(self.total_partitions))
        random.Random(seed).shuffle(order)
        each, over = divmod(len(order), self.n_workers)
        found, start = {}, 0
        for number in range(self.n_workers):
            end = start + each + (number < over)
            name = f"worker_{number}"
            found[name] = PartitionAssignment(name, order[start:end])
            start = end
        return found


class Window:
    """For each group, the list of its items with the greatest values, and the list of
    these values if the schema names one."""

    def apply(
        self, df: pl.DataFrame, schema: DataSchema, max_items: int, **kwargs: Any
    ) -> pl.DataFrame:
        """One row per group. The parameters are those of :class:`slaf.ml.Window`."""
        window = SimpleWindow() if schema.value_list_key else GeneformerWindow()
        return window.apply(df, schema, max_items)


class Shuffle:
    """Puts groups in random order."""

    def apply(self, df: pl.DataFrame, schema: DataSchema, seed: int, **kwargs: Any) -> pl.DataFrame:
        """The rows of `df`, group by group. The same seed gives the same order."""
        groups = df.partition_by(schema.group_key)
        random.Random(seed).shuffle(groups)
        return pl.concat(groups) if groups else df
