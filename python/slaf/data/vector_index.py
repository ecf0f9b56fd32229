"""An index of an embedding, by which neighbours are found without reading all vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slaf import _slaf
from slaf.lazy.readers import StoredVectors

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyAnnData


class VectorIndex(NamedTuple):
    """What was built: of the 10 nearest vectors, `visited` of its partitions hold the
    share `recall`."""

    metric: str
    partitions: int
    visited: int
    recall: float


def index_vectors(
    handle: LazyAnnData, key: str, metric: str, partitions: int | None = None
) -> VectorIndex:
    """Indexes the stored embedding `key` of obsm or varm, in `partitions` (None: the root of the
    number of vectors).

    Raises
    ------
    ValueError
        There is no such embedding, or it is no matrix of numbers.
    """
    place = _place(handle, key)
    _, figures = _slaf.index_vectors(handle.slaf._dataset, *place, metric, partitions)
    return VectorIndex(*figures)


def _place(handle: LazyAnnData, key: str) -> tuple[str, str]:
    """The table and the column of an embedding."""
    view = handle.varm if key in handle.varm and key not in handle.obsm else handle.obsm
    try:
        found = view._found(key)
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    if not isinstance(found, StoredVectors):
        raise ValueError(f"`{key}` is no matrix of numbers, so it cannot be indexed.")
    return found.place
