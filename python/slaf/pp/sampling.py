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
    """Keeps a random sample of the cells (or genes), in the order in which they are drawn:
    the same sample as scanpy's `pp.sample` draws with the same `rng`.

    Parameters
    ----------
    fraction, n
        The size of the sample: a fraction of all, or a number. Give exactly one.
    rng
        A seed or a `numpy.random.Generator`; None draws another sample each time.
    copy
        Whether a copy is returned, or the handle is changed.
    replace
        Whether a cell (or gene) may be drawn several times.
    p
        Probabilities that sum to 1, or a mask: as an array, or as the name of a column of
        obs (or var).

    Raises
    ------
    TypeError
        Neither or both of `fraction` and `n` are given.
    ValueError
        There are too few to draw from, or `p` does not fit.
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
    """Keeps a random sample of the cells, drawn without replacement: the same sample as
    scanpy's `pp.subsample` draws with the same `random_state`. Everything else is as in
    :func:`sample`."""
    require(adata)
    size = _size(fraction, n_obs, adata.n_obs, adata.n_obs, False)
    return _keep(adata, legacy(random_state).choice(adata.n_obs, size, replace=False), 0, copy)


def legacy(random_state: int | np.random.RandomState | None) -> Any:
    """A generator with the draws that numpy's old functions give after
    `np.random.seed(random_state)`; the global state does not change. For None, the old
    functions themselves, with their global state."""
    if random_state is None:
        return np.random
    if isinstance(random_state, np.random.RandomState):
        return random_state
    return np.random.RandomState(random_state)


def _size(fraction: float | None, n: int | None, possible: int, total: int, replace: bool) -> int:
    if (fraction is None) == (n is None):
        raise TypeError("Give either `fraction` or a number.")
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
