"""Draws many cells as pixels: each pixel has the mean colour of its cells, and is more
opaque the more cells it has."""

from __future__ import annotations

import numpy as np

#: Left, bottom, right and top in the unit square.
Box = tuple[float, float, float, float]
#: The grey towards which cells outside of a selection fade; a fifth of their colour is
#: left.
_FADED = 235.0


def density(
    unit: np.ndarray,
    codes: np.ndarray,
    palette: np.ndarray,
    *,
    side: int,
    box: Box = (0.0, 0.0, 1.0, 1.0),
    selected: np.ndarray | None = None,
    numbers: bool = False,
) -> np.ndarray:
    """Draws cells.

    Parameters
    ----------
    unit
        Positions in the unit square: floats, cells × 2; cells outside of `box` are
        left out.
    codes, palette
        Colours, as in :class:`slaf.explorer.colours.Colouring`.
    side
        Width and height of the picture in pixels.
    selected
        Cells that do not fade: bool, one per cell; None if no cell fades.
    numbers
        Whether colours represent numbers. If so, a pixel has the colour of the mean,
        and missing values count only in pixels without others.

    Returns
    -------
    RGBA from the top left: uint8, side × side × 4.
    """
    left, bottom, right, top = box
    column = (unit[:, 0] - left) * (side / (right - left))
    row = (top - unit[:, 1]) * (side / (top - bottom))
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    pixel = row[inside].astype(np.int64) * side + column[inside].astype(np.int64)
    codes = codes[inside]
    counts = np.bincount(pixel, minlength=side * side)
    if numbers:
        rgb = _of_means(pixel, codes, palette, side * side)
    else:
        shares = [np.bincount(pixel, palette[codes, at], side * side) for at in range(3)]
        rgb = np.stack(shares, axis=1) / np.maximum(counts, 1)[:, None]
    if selected is not None:
        chosen = np.bincount(pixel, selected[inside], side * side) / np.maximum(counts, 1)
        share = (0.2 + 0.8 * chosen)[:, None]
        rgb = rgb * share + _FADED * (1 - share)
    most = max(int(counts.max(initial=0)), 1)
    opacity = np.where(counts > 0, 90 + 165 * np.log1p(counts) / np.log1p(most), 0)
    return np.rint(np.column_stack([rgb, opacity])).astype(np.uint8).reshape(side, side, 4)


def _of_means(pixel: np.ndarray, codes: np.ndarray, palette: np.ndarray, n: int) -> np.ndarray:
    missing = len(palette) - 1
    known = codes != missing
    counts = np.bincount(pixel[known], minlength=n)
    sums = np.bincount(pixel[known], codes[known], n)
    means = np.where(counts > 0, np.rint(sums / np.maximum(counts, 1)), missing)
    return palette[means.astype(np.int64)].astype(np.float64)
