"""Loaders with small batches, and the cells in their batches."""

from __future__ import annotations

import itertools

import numpy as np
from slaf.ml import SLAFDataLoader

#: Cells of `loader_counts`.
N = 300


def loader_of(array, **more) -> SLAFDataLoader:
    more = {"batch_size": 16, "verbose": False, "tensors": False, "block": 8, "buffer": 64} | more
    return SLAFDataLoader(array, **more)


def ids(loader) -> list[list[int]]:
    return [np.asarray(batch["cell_ids"]).tolist() for batch in loader]


def flat(batches) -> list[int]:
    return list(itertools.chain.from_iterable(batches))
