"""Selects cells of a dataset, by a condition and in an order."""

from __future__ import annotations

import numpy as np

from slaf.dataset import Dataset
from slaf.lazy.handle import LazyHandle
from slaf.lazy.state import HandleState
from slaf.sql.filters import rows_where


def selected(dataset: Dataset, *, where: str | None = None, seed: int | None = None) -> LazyHandle:
    """A handle of the cells for which the SQL condition `where` is true (None: all), in
    random order if a `seed` is given."""
    handle = LazyHandle.over(HandleState.of_dataset(dataset))
    if where is not None:
        handle = handle[rows_where(dataset, "cells", where)]
    if seed is not None:
        handle = handle[np.random.default_rng(seed).permutation(handle.n_obs)]
    return handle
