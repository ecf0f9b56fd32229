"""The content of matplotlib figures, as numbers and texts that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colors, pyplot


def drawing(plot: Callable[[], Any]) -> list[dict[str, Any]]:
    """The content of all axes of all figures that `plot` makes."""
    pyplot.close("all")
    np.random.seed(0)  # noqa: NPY002 - seaborn's jitter
    plot()
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    for figure in figures:
        figure.draw_without_rendering()
    found = [_axes(ax) for figure in figures for ax in figure.axes]
    pyplot.close("all")
    return found


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], rtol: float = 2e-5) -> None:
    """Raises if the drawings differ."""
    assert len(theirs) > 0
    assert [ax["texts"] for ax in ours] == [ax["texts"] for ax in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for kind in one.keys() - {"texts"}:
            assert len(one[kind]) == len(other[kind]), kind
            for a, b in zip(one[kind], other[kind], strict=True):
                # A colour map has 256 colours. A value at the border of two may get
                # either.
                colour = a.ndim == 2 and a.shape[1] == 4
                np.testing.assert_allclose(
                    a, b, rtol=rtol, atol=0.02 if colour else 1e-5, err_msg=kind
                )


def _axes(ax: Any) -> dict[str, Any]:
    ticks = [t.get_text() for axis in (ax.xaxis, ax.yaxis) for t in axis.get_ticklabels()]
    legend = ax.get_legend()
    said = [] if legend is None else [t.get_text() for t in legend.get_texts()]
    titles = [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
    return {
        "texts": [*titles, *ticks, *said, *(t.get_text() for t in ax.texts)],
        "limits": [np.array([*ax.get_xlim(), *ax.get_ylim()]), np.array(ax.get_position().bounds)],
        "points": [array for c in ax.collections for array in _collection(c)],
        "images": [array for image in ax.images for array in _mapped(image)],
        "lines": [np.column_stack(line.get_data()).astype(float) for line in ax.lines],
        "patches": [array for patch in ax.patches for array in _patch(patch)],
        "places": [np.array(text.get_position(), dtype=float) for text in ax.texts],
    }


def _collection(collection: Any) -> list[np.ndarray]:
    paths = [path.vertices for path in collection.get_paths()]
    return [
        np.ma.filled(np.ma.asarray(collection.get_offsets(), dtype=float), np.nan),
        np.asarray(getattr(collection, "get_sizes", list)(), dtype=float),
        np.asarray(collection.get_facecolors()),
        np.asarray(collection.get_linewidths()),
        *(paths if len(paths) > 1 or "Scatter" not in type(collection).__name__ else []),
        *(_mapped(collection) if collection.get_array() is not None else []),
    ]


def _mapped(mappable: Any) -> list[np.ndarray]:
    """Values, and the colours in which they are shown."""
    values = np.ma.filled(np.ma.asarray(mappable.get_array(), dtype=float), np.nan)
    limits = np.array([mappable.norm.vmin, mappable.norm.vmax], dtype=float)
    return [values, limits, mappable.cmap(np.linspace(0, 1, 5))]


def _patch(patch: Any) -> list[np.ndarray]:
    return [patch.get_path().vertices, np.array(colors.to_rgba(patch.get_facecolor()))]
