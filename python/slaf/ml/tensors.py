"""Arrays as torch tensors that share their memory, if torch is installed."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np


@cache
def torch() -> Any | None:
    """The module torch; None if it is not installed."""
    if find_spec("torch") is None:
        return None
    import torch

    return torch


def as_tensor(array: np.ndarray) -> Any:
    """A tensor that shares the array's memory; the array itself if torch is not
    installed."""
    return array if torch() is None else torch().from_numpy(array)


def sparse_tensor(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, shape: Any) -> Any:
    """A sparse CSR tensor.

    Raises
    ------
    ImportError
        torch is not installed.
    """
    if torch() is None:
        raise ImportError("torch is not installed, but tensors were requested.")
    parts = (torch().from_numpy(part) for part in (indptr, indices, data))
    return torch().sparse_csr_tensor(*parts, size=shape)
