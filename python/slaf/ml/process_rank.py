"""The rank of this process among the processes of a training run."""

from __future__ import annotations

import os
import sys


def rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and number of processes: as given, from torch.distributed, or from the
    environment variables of torchrun and Ray."""
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
