"""A still picture of the explorer, for places that show no widgets, such as GitHub."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from slaf.explorer.density import density
from slaf.explorer.embedding import Embedding
from slaf.explorer.state import State

#: With more cells than this, pixels are coloured instead of drawing dots.
_DOTS = 20_000
_SIDE = 400
#: Number of lines in a legend.
_LINES = 24


def png(state: State) -> bytes:
    """The state's embeddings side by side, with a legend: a PNG, 430 pixels high."""
    from matplotlib.figure import Figure

    width = 4 * len(state.places) + 2
    figure = Figure(figsize=(width, 4.3), dpi=100)
    for at, place in enumerate(state.places.values()):
        ax = figure.add_axes(((4 * at + 0.05) / width, 0.01, 3.9 / width, 3.9 / 4.3))
        _draw(ax, state, place)
    right = (width - 2 + 0.05) / width
    if state.colouring.ends is not None:
        _scale(figure, (right, 0.25, 0.15 / width, 0.5), state)
    elif state.colouring.categories:
        _categories(figure, right, state)
    figure.text(0.05 / width, 0.985, _plain(repr(state)), fontsize=8, va="top")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw(ax: Any, state: State, place: Embedding) -> None:
    rows = np.flatnonzero(state.visible & place.placed)
    draw = _draw_pixels if len(rows) > _DOTS else _draw_dots
    draw(ax, state, place, rows)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
    ax.text(0.02, 0.98, _plain(place.name), fontsize=9, va="top")


def _draw_pixels(ax: Any, state: State, place: Embedding, rows: np.ndarray) -> None:
    colouring, selected = state.colouring, state.mask
    pixels = density(
        place.unit[rows],
        colouring.codes[rows],
        colouring.palette,
        side=_SIDE,
        selected=selected[rows] if selected.any() else None,
        numbers=colouring.ends is not None,
    )
    ax.imshow(pixels, extent=(0, 1, 0, 1), interpolation="nearest")


def _draw_dots(ax: Any, state: State, place: Embedding, rows: np.ndarray) -> None:
    colouring, selected = state.colouring, state.mask
    if colouring.ends is not None:
        # Great numbers are drawn above small ones, and missing ones below all.
        codes = colouring.codes[rows].astype(np.int64)
        rows = rows[np.argsort(np.where(codes == colouring.missing, -1, codes), kind="stable")]
    rows = rows[np.argsort(selected[rows], kind="stable")]
    rgb = colouring.palette[colouring.codes[rows]] / 255
    if selected.any():
        others = ~selected[rows]
        rgb[others] = rgb[others] * 0.2 + 0.8 * 235 / 255
    size = np.clip(8000 / (len(rows) + 1), 1, 30)
    ax.scatter(*place.unit[rows].T, s=size, c=rgb, linewidths=0)


def _categories(figure: Any, left: float, state: State) -> None:
    from matplotlib.lines import Line2D

    colouring = state.colouring
    shown = [at for at, name in enumerate(colouring.categories) if name not in state.hidden]
    lines = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=rgb, label=name)
        for rgb, name in (
            (colouring.palette[at] / 255, _plain(_short(colouring.categories[at])))
            for at in shown[:_LINES]
        )
    ]
    if len(shown) > _LINES:
        lines.append(Line2D([], [], alpha=0, label=f"and {len(shown) - _LINES} more"))
    title = _plain(_short(colouring.title))
    place = {"loc": "upper left", "bbox_to_anchor": (left, 0.97), "borderaxespad": 0.0}
    figure.legend(handles=lines, title=title, fontsize=7, title_fontsize=8, frameon=False, **place)


def _scale(figure: Any, box: tuple[float, float, float, float], state: State) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colouring = state.colouring
    low, high = colouring.ends or (np.nan, np.nan)
    figure.text(box[0], 0.9, _plain(_short(colouring.title)), fontsize=9)
    figure.text(box[0], 0.85, _plain(_short(colouring.note)), fontsize=7)
    if np.isnan(low):
        return
    colours = ListedColormap(colouring.palette[:-1] / 255)
    scale = ScalarMappable(Normalize(low, high if high > low else low + 1), colours)
    figure.colorbar(scale, cax=figure.add_axes(box)).ax.tick_params(labelsize=7)


def _short(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:31]}…"


def _plain(text: str) -> str:
    """Text in which matplotlib sees no mathematics between dollar signs."""
    return text.replace("$", r"\$")
