"""How often each cell is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slaf.ml.loader_inputs import Part, joined


def drawn_by(
    parts: list[Part],
    weights: np.ndarray | str | None,
    balance_by: str | None,
    mix: Sequence[float] | None,
    draws: int | None,
    stratify_by: str | None,
) -> dict[str, Any]:
    """A loader's parameters of these names, in the form that its engine accepts."""
    return {
        "weights": _weights_of(parts, weights, balance_by, mix),
        "draws": draws,
        "strata": _strata_of(parts, stratify_by),
    }


def _weights_of(
    parts: list[Part],
    weights: np.ndarray | str | None,
    balance_by: str | None,
    mix: Sequence[float] | None,
) -> np.ndarray | None:
    """The weight of each cell, float64; None if every cell comes once."""
    if weights is not None and balance_by is not None:
        raise ValueError("weights and balance_by exclude each other.")
    sizes = [len(part.rows) for part in parts]
    found: np.ndarray | None = None
    if balance_by is not None:
        codes = _strata_of(parts, balance_by)
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


def _strata_of(parts: list[Part], name: str | None) -> np.ndarray | None:
    """The number of each cell's value in a column of obs: uint32."""
    if name is None:
        return None
    values, _ = joined(parts, name)
    return np.unique(values, return_inverse=True)[1].astype(np.uint32)
