"""How often each cell is drawn, and by whom."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np

from slaf.ml.parts import Part, joined


def process(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of processes: as given, as torch.distributed has them, or as
    torchrun and Ray set them in the environment."""
    if (rank is None) != (world_size is None):
        raise ValueError("rank and world_size belong together; give both or none.")
    if rank is None:
        distributed = sys.modules.get("torch.distributed")
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            rank, world_size = distributed.get_rank(), distributed.get_world_size()
        else:
            rank = int(os.environ.get("RANK", 0))
            world_size = int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= rank < world_size:
        raise ValueError(f"Rank {rank} is not among {world_size} processes, which count from 0.")
    return rank, world_size


def weights_of(
    parts: list[Part],
    weights: np.ndarray | str | None,
    balance_by: str | None,
    mix: Sequence[float] | None,
) -> np.ndarray | None:
    """A weight for each cell, float64; None if every cell comes once."""
    if weights is not None and balance_by is not None:
        raise ValueError("weights and balance_by exclude each other.")
    sizes = [len(part.rows) for part in parts]
    found: np.ndarray | None = None
    if balance_by is not None:
        codes = strata_of(parts, balance_by)
        found = 1.0 / np.bincount(codes)[codes]
    elif isinstance(weights, str):
        found, categories = joined(parts, weights)
        if categories is not None:
            raise ValueError(f"obs[{weights!r}] holds no numbers, so no weights.")
        found = found.astype(np.float64)
    elif weights is not None:
        found = np.ascontiguousarray(weights, dtype=np.float64)
        if found.shape != (sum(sizes),):
            raise ValueError(f"There are {found.size} weights for {sum(sizes)} cells.")
    if mix is not None:
        if len(mix) != len(parts):
            raise ValueError(f"mix has {len(mix)} numbers for {len(parts)} datasets.")
        found = np.ones(sum(sizes)) if found is None else found
        of_parts = np.split(found, np.cumsum(sizes)[:-1])
        shares = [share * own / own.sum() for share, own in zip(mix, of_parts, strict=True)]
        found = np.concatenate(shares)
    return found


def strata_of(parts: list[Part], name: str | None) -> np.ndarray | None:
    """A number for each value of a column of obs: uint32."""
    if name is None:
        return None
    values, _ = joined(parts, name)
    return np.unique(values, return_inverse=True)[1].astype(np.uint32)
