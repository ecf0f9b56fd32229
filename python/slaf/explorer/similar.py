"""Finds cells that are similar to the selected ones, by nearest-neighbour search."""

from __future__ import annotations

from typing import Any

import numpy as np

from slaf._slaf import SlafError

#: If more cells are selected, this many of them are used for the search.
MOST_QUERIES = 64


def similar(handle: Any, selected: np.ndarray, k: int, key: str) -> np.ndarray:
    """The `k` cells that are nearest to any of the selected cells in `obsm[key]`,
    nearest first and without the selected cells: int64. If more than 64 cells are
    selected, 64 of them, evenly spread, are used.

    Raises
    ------
    SlafError
        Nothing is selected, or the vectors of all selected cells contain NaN.
    """
    rows = np.flatnonzero(selected)
    if not len(rows):
        raise SlafError("Nothing is selected: select the cells to which others should be similar.")
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_QUERIES)).astype(np.int64)]
    vectors = handle.obsm[key]
    vectors = np.asarray(vectors.iloc[rows] if hasattr(vectors, "iloc") else vectors[rows])
    vectors = vectors[np.isfinite(vectors).all(axis=1)]
    if not len(vectors):
        raise SlafError(f"The selected cells have NaN in obsm[{key!r}].")
    k = min(k, int((~selected).sum()))
    if k == 0:
        return np.zeros(0, dtype=np.int64)
    found = handle.obsm.search(key, vectors, k=k, filter=~selected)
    indices, distances = found.indices.ravel(), found.distances.ravel()
    order = np.argsort(distances, kind="stable")
    order = order[indices[order] >= 0]
    _, first = np.unique(indices[order], return_index=True)
    return indices[order][np.sort(first)][:k]
