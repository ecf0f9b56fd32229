"""Builds an index of an embedding, so that searches need not read all vectors."""

from __future__ import annotations

from typing import NamedTuple

from slaf import _slaf
from slaf.dataset import Dataset
from slaf.ground.hints import did_you_mean
from slaf.ground.progress import job
from slaf.lazy.readers import VectorReader
from slaf.lazy.stored_content import arrays_of


class VectorIndex(NamedTuple):
    """An index that was built. On average, searches of `visited` partitions find the
    fraction `recall` of the 10 nearest vectors."""

    metric: str
    partitions: int
    visited: int
    recall: float


def index_vectors(
    dataset: Dataset, key: str, metric: str, partitions: int | None = None
) -> VectorIndex:
    """Indexes the stored embedding `key` of obsm or varm, with this number of
    `partitions` (None: the square root of the number of vectors).

    Raises
    ------
    ValueError
        There is no such embedding, or it is not a matrix of numbers.
    """
    place = _place(dataset, key)
    with job(f"index of {key}") as step:
        _, figures = _slaf.index_vectors(dataset.engine, *place, metric, partitions, step)
    return VectorIndex(*figures)


def _place(dataset: Dataset, key: str) -> tuple[str, str]:
    """The table and the column of an embedding."""
    readers = arrays_of(dataset)
    section = "varm" if key in readers["varm"] and key not in readers["obsm"] else "obsm"
    found = readers[section].get(key)
    if found is None:
        near = did_you_mean(_slaf.nearest(key, [*readers["obsm"], *readers["varm"]]))
        raise ValueError(f"There is no embedding `{key}` in obsm or varm.{near}")
    if not isinstance(found, VectorReader):
        raise ValueError(f"`{key}` is not a matrix of numbers, so it cannot be indexed.")
    return found.table, found.column
