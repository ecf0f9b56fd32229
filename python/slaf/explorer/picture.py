"""A still picture of a state, for where there is no browser, such as on GitHub."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from slaf.explorer.density import density
from slaf.explorer.embedding import Embedding
from slaf.explorer.state import State

#: Above so many cells pixels are coloured, and no dots drawn.
_DOTS = 20_000
_SIDE = 400
#: Lines of a legend.
_LINES = 24


def png(state: State) -> bytes:
    """The state's embeddings beside each other, with what the colours mean: a PNG of
    400 pixels in height."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(state.places) + 1.9, 4.0), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(state.places), squeeze=False)[0]
    for place, ax in zip(state.places.values(), axes, strict=True):
        _draw(ax, state, place)
    if state.colouring.ends is not None:
        _scale(figure, axes[-1], state)
    elif state.colouring.categories:
        _categories(axes[-1], state)
    figure.suptitle(repr(state), fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw(ax: Any, state: State, place: Embedding) -> None:
    colouring, selected = state.colouring, state.mask
    rows = np.flatnonzero(state.visible & place.placed)
    if colouring.ends is not None:
        # Great numbers above small ones, and missing ones below all.
        codes = colouring.codes[rows].astype(np.int64)
        rows = rows[np.argsort(np.where(codes == colouring.missing, -1, codes), kind="stable")]
    if selected.any():
        rows = rows[np.argsort(selected[rows], kind="stable")]
    codes, unit = colouring.codes[rows], place.unit[rows]
    if len(rows) > _DOTS:
        picture = density(
            unit,
            codes,
            colouring.palette,
            side=_SIDE,
            selected=selected[rows] if selected.any() else None,
            numbers=colouring.ends is not None,
        )
        ax.imshow(picture, extent=(0, 1, 0, 1), interpolation="nearest")
    else:
        rgb = colouring.palette[codes] / 255
        if selected.any():
            rgb[~selected[rows]] = rgb[~selected[rows]] * 0.2 + 0.8 * 235 / 255
        size = np.clip(8000 / (len(rows) + 1), 1, 30)
        ax.scatter(*unit.T, s=size, c=rgb, linewidths=0)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
    ax.set_title(_plain(place.name), fontsize=10)


def _categories(ax: Any, state: State) -> None:
    from matplotlib.lines import Line2D

    colouring = state.colouring
    shown = [at for at, name in enumerate(colouring.categories) if name not in state.hidden]
    style = {"marker": "o", "linestyle": "", "markersize": 5}
    lines = [
        Line2D(
            [],
            [],
            color=colouring.palette[at] / 255,
            label=_plain(colouring.categories[at]),
            **style,
        )
        for at in shown[:_LINES]
    ]
    if len(shown) > _LINES:
        lines.append(Line2D([], [], alpha=0, label=f"and {len(shown) - _LINES} more"))
    ax.legend(
        handles=lines,
        title=_plain(colouring.title),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        fontsize=7,
        title_fontsize=8,
        frameon=False,
    )


def _scale(figure: Any, ax: Any, state: State) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colouring = state.colouring
    low, high = colouring.ends
    if np.isnan(low):
        return
    colours = ListedColormap(colouring.palette[:-1] / 255)
    scale = ScalarMappable(Normalize(low, high if high > low else low + 1), colours)
    label = f"{colouring.title}\n{colouring.note}" if colouring.note else colouring.title
    figure.colorbar(scale, ax=ax, shrink=0.7).set_label(_plain(label), fontsize=8)


def _plain(text: str) -> str:
    """Without matplotlib's mathematics between dollars."""
    return text.replace("$", r"\$")
