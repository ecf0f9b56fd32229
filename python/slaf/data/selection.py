"""Some cells of a handle, by a condition and in an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyAnnData


def selected(
    handle: LazyAnnData, *, where: str | None = None, seed: int | None = None
) -> LazyAnnData:
    """Those cells of a whole dataset's `handle` for which the SQL condition `where`
    holds (None: all), in random order if there is a `seed`."""
    if where is not None:
        found = handle.slaf.query(
            f"SELECT cell_integer_id FROM cells WHERE ({where}) ORDER BY cell_integer_id"
        )
        handle = handle[found["cell_integer_id"].to_numpy()]
    if seed is not None:
        handle = handle[np.random.default_rng(seed).permutation(handle.n_obs)]
    return handle
