"""Positions of cells: the first two columns of an obsm, scaled to a square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from slaf._slaf import SlafError, nearest
from slaf.ground.hints import did_you_mean

#: Steps of the grid on which positions are sent.
_GRID = 65535
_KNOWN = {
    key: at for at, key in enumerate(("X_umap", "X_tsne", "X_draw_graph_fa", "spatial", "X_pca"))
}


@dataclass(frozen=True)
class Embedding:
    """Positions of cells in the unit square, x to the right and y up, with the
    proportions of the data.

    Attributes
    ----------
    name
        The key of obsm.
    unit
        float32, cells × 2, NaN if a cell has no position.
    placed
        Which cells have a position: bool, one per cell.
    corner, side
        The square in the units of the data: its lower left corner and the length
        of its sides.
    """

    name: str
    unit: np.ndarray
    placed: np.ndarray
    corner: tuple[float, float]
    side: float

    @classmethod
    def of(cls, handle: Any, key: str) -> Embedding:
        """The embedding `handle.obsm[key]`.

        Raises
        ------
        KeyError
            There is no such key.
        SlafError
            It has fewer than two columns, or is not numeric.
        """
        xy = _two_columns(handle, key)
        placed = np.isfinite(xy).all(axis=1)
        inside = xy[placed].astype(np.float64)
        low = inside.min(axis=0) if len(inside) else np.zeros(2)
        high = inside.max(axis=0) if len(inside) else np.ones(2)
        side = float((high - low).max()) * 1.04 or 1.0
        corner = (low + high) / 2 - side / 2
        unit = ((xy - corner) / side).astype(np.float32)
        unit[~placed] = np.nan
        return cls(key, unit, placed, (float(corner[0]), float(corner[1])), side)

    def wire(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The positions on a grid of 65,536 steps: uint16, cells × 2. Cells without a
        position are in the corner, and are not drawn."""
        unit = np.nan_to_num(self.unit[rows], nan=0.0)
        return np.rint(unit * _GRID).astype("<u2")

    def within(self, polygon: np.ndarray) -> np.ndarray:
        """Which cells are inside a polygon of the unit square (vertices × 2): bool."""
        from matplotlib.path import Path

        found = np.zeros(len(self.unit), dtype=bool)
        near = self.inside((*polygon.min(axis=0), *polygon.max(axis=0)))
        found[near] = Path(polygon).contains_points(self.unit[near])
        return found

    def inside(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """The row numbers of the cells in a box (left, bottom, right, top) of the unit
        square."""
        x, y = self.unit.T
        left, bottom, right, top = box
        return np.flatnonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top))


def first_embedding(handle: Any) -> str | None:
    """The most usual key of obsm that has at least two columns; the others are not
    read."""
    keys = sorted(handle.obsm.keys(), key=lambda key: _KNOWN.get(key, len(_KNOWN)))
    return next((key for key in keys if handle.obsm[key].shape[1:] >= (2,)), None)


def _two_columns(handle: Any, key: str) -> np.ndarray:
    keys = list(handle.obsm.keys())
    if key not in keys:
        hint = did_you_mean(nearest(key, keys)) or _there_are(keys)
        raise KeyError(f"The handle has no obsm[{key!r}].{hint}")
    value = handle.obsm[key]
    if value.ndim < 2 or value.shape[1] < 2:
        raise SlafError(f"obsm[{key!r}] has one column, and a position needs two.")
    value = value.iloc[:, :2].to_numpy() if hasattr(value, "iloc") else value[:, :2]
    value = value.toarray() if sparse.issparse(value) else np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise SlafError(f"obsm[{key!r}] holds {value.dtype}, and positions are numbers.")
    return value.astype(np.float64, copy=False)


def _there_are(keys: list[str]) -> str:
    return f" It has {', '.join(map(repr, keys))}." if keys else " Its obsm is empty."
