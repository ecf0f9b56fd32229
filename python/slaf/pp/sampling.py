"""Samples cells or genes at random; reads nothing."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from slaf.lazy.handle import LazyHandle
from slaf.lazy.state import state_of
from slaf.pp.handles import require


def sample(
    adata: LazyHandle,
    fraction: float | None = None,
    *,
    n: int | None = None,
    rng: Any = None,
    copy: bool = False,
    replace: bool = False,
    axis: Literal["obs", 0, "var", 1] = "obs",
    p: str | np.ndarray | None = None,
) -> LazyHandle | None:
    """Keeps cells (or genes) drawn at random, in the order of the draw: the same as
    scanpy's `pp.sample` for the same `rng`.

    Parameters
    ----------
    fraction, n
        How many: a share of all, or a number. Give one of both.
    rng
        A seed or a `numpy.random.Generator`; None draws anew each time.
    copy
        Whether another handle is returned, or this one changes.
    replace
        Whether one may be drawn several times.
    p
        Probabilities (they sum to 1) or a mask; an array, or a column of the axis.

    Raises
    ------
    TypeError
        Neither or both of `fraction` and `n` are given.
    ValueError
        There are not so many to draw from, or `p` does not fit.
    """
    require(adata)
    if axis not in ("obs", 0, "var", 1):
        raise ValueError(f"`axis` is 'obs' (0) or 'var' (1), not {axis!r}.")
    at = 0 if axis in ("obs", 0) else 1
    total = adata.shape[at]
    weights = None if p is None else _weights(p, adata, at)
    size = _size(
        fraction, n, total if weights is None else np.count_nonzero(weights), total, replace
    )
    chosen = np.random.default_rng(rng).choice(total, size=size, replace=replace, p=weights)
    return _keep(adata, chosen, at, copy)


def subsample(
    adata: LazyHandle,
    fraction: float | None = None,
    *,
    n_obs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    copy: bool = False,
) -> LazyHandle | None:
    """Keeps cells drawn at random without replacement: the same as scanpy's
    `pp.subsample` for the same `random_state`. Otherwise as :func:`sample`."""
    require(adata)
    size = _size(fraction, n_obs, adata.n_obs, adata.n_obs, False)
    return _keep(adata, legacy(random_state).choice(adata.n_obs, size, replace=False), 0, copy)


def legacy(random_state: int | np.random.RandomState | None) -> Any:
    """What numpy's old functions draw from after `np.random.seed(random_state)`, whose
    state stays as it is; of None, these functions."""
    if random_state is None:
        return np.random
    if isinstance(random_state, np.random.RandomState):
        return random_state
    return np.random.RandomState(random_state)


def _size(fraction: float | None, n: int | None, possible: int, total: int, replace: bool) -> int:
    if (fraction is None) == (n is None):
        raise TypeError("Say how many to draw: `fraction`, or else a number.")
    if n is None:
        if fraction < 0 or (fraction > 1 and not replace):
            raise ValueError(f"A fraction without replacement is from 0 to 1, not {fraction}.")
        n = int(fraction * total)
    if n < 0 or (n > possible and not replace):
        raise ValueError(f"{n:,} cannot be drawn of {possible:,} without replacement.")
    return n


def _weights(p: str | np.ndarray, adata: LazyHandle, axis: int) -> np.ndarray:
    """Probabilities that sum to 1."""
    section = ("obs", "var")[axis]
    if isinstance(p, str):
        p = getattr(adata, section)[p]
    p = np.asarray(p)
    if p.shape != (adata.shape[axis],) or p.dtype.kind not in "bf":
        raise ValueError(
            f"`p` is a mask or probabilities of the {adata.shape[axis]:,} entries of {section}."
        )
    if p.dtype == bool:
        if not p.any():
            raise ValueError("The mask `p` allows none.")
        return p / p.sum()
    if not (p >= 0).all() or not np.isclose(p.sum(), 1):
        raise ValueError("Probabilities `p` are not negative, and sum to 1.")
    return p.astype(np.float64)


def _keep(adata: LazyHandle, chosen: np.ndarray, axis: int, copy: bool) -> LazyHandle | None:
    view = adata[chosen] if axis == 0 else adata[:, chosen]
    if copy:
        return view.copy()
    state_of(adata).become(state_of(view))
    return None
