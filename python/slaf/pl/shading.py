"""Scatter plots of very many cells, drawn by datashader in scanpy's colours."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

#: With more cells than this, points are shaded.
SHADED_FROM = 500_000


def is_shaded(shade: bool | None, n: int) -> bool:
    """Whether to shade `n` points: as `shade` says or, if it is None, if there are very
    many.

    Raises
    ------
    ImportError
        `shade` is True, and datashader is not installed.
    """
    wanted = n > SHADED_FROM if shade is None else shade
    if not wanted or find_spec("datashader") is not None:
        return wanted
    what = "datashader draws so many cells in seconds: `pip install slaf-jupyter[plots]`."
    if shade:
        raise ImportError(what)
    warnings.warn(f"{n:,} points take long. {what}", UserWarning, stacklevel=5)
    return False


def shade_points(ax: Any, n: int, *, topmost: bool) -> None:
    """Replaces the `n` points that scanpy drew with a picture. A pixel shows the value
    of its `topmost` point, or the mean. Colours of categories are mixed by their number
    of cells, and are more opaque with more cells."""
    points = next(c for c in ax.collections if len(c.get_offsets()) == n)
    frame = pd.DataFrame(np.asarray(points.get_offsets(), dtype=np.float32), columns=["x", "y"])
    if points.get_array() is None:
        _add_colours(ax, frame, points.get_facecolors())
    else:
        values = np.ma.filled(np.ma.asarray(points.get_array(), dtype=np.float64), np.nan)
        _add_numbers(ax, frame.assign(value=values), points, topmost)
    points.remove()


def _add_numbers(ax: Any, frame: pd.DataFrame, points: Any, topmost: bool) -> None:
    import datashader
    from matplotlib.colors import to_hex

    points.autoscale_None()
    missing = frame["value"].isna()
    if missing.any():
        bad = to_hex(points.cmap.get_bad(), keep_alpha=True)
        _show(ax, frame[missing].assign(colour=pd.Categorical([bad] * missing.sum())), bad)
    # A "bad" pixel has no cells.
    cmap = points.cmap.with_extremes(bad=(0, 0, 0, 0))
    # scanpy has sorted the points; those on top come last.
    reduction = datashader.last("value") if topmost else datashader.mean("value")
    if not missing.all():
        _draw(ax, frame[~missing], reduction, norm=points.norm, cmap=cmap)


def _add_colours(ax: Any, frame: pd.DataFrame, rgba: np.ndarray) -> None:
    """Makes each of the colours a category."""
    from matplotlib.colors import to_hex

    packed = np.ascontiguousarray(np.round(rgba * 255).astype(np.uint8)).view(np.uint32).ravel()
    colours, codes = np.unique(np.broadcast_to(packed, len(frame)), return_inverse=True)
    names = [to_hex(colour / 255) for colour in colours[:, None].view(np.uint8)]
    _show(ax, frame.assign(colour=pd.Categorical(np.array(names)[codes])), *names)


def _show(ax: Any, frame: pd.DataFrame, *colours: str) -> None:
    import datashader

    key = {colour: colour[:7] for colour in colours}
    _draw(ax, frame, datashader.count_cat("colour"), color_key=key)


def _draw(ax: Any, frame: pd.DataFrame, reduction: Any, **how: Any) -> None:
    import datashader
    from datashader.mpl_ext import dsshow

    limits = {"x_range": ax.get_xlim(), "y_range": ax.get_ylim()}
    dsshow(frame, datashader.Point("x", "y"), reduction, ax=ax, aspect="auto", **limits, **how)
