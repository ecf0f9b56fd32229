"""Our widgets: a scatter plot of an embedding, and a legend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from ipywidgets import Layout
from traitlets import Bool, Bytes, Int, List, Unicode

from slaf.explorer import filters
from slaf.explorer.density import Box, density
from slaf.explorer.embedding import Embedding
from slaf.explorer.state import State

_STATIC = Path(__file__).parent / "static"
#: Width and height in pixels of a picture of many cells.
_SIDE = 512
_SHOWN, _SELECTED = 1, 2


def _source(*names: str) -> str:
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


class ScatterWidget(anywidget.AnyWidget):
    """An embedding in the browser. It shows points (`positions`, `codes` and `flags`,
    one number per cell), or, for more cells, a picture (`density`)."""

    _esm = _source("camera.js", "canvas.js", "webgl.js", "scatter.js")
    _css = _source("explorer.css")

    name = Unicode().tag(sync=True)
    height = Int(440).tag(sync=True)
    #: "webgl", "canvas", or "auto": WebGL if there is a graphics card.
    renderer = Unicode("auto").tag(sync=True)
    #: uint16 x and y in the unit square.
    positions = Bytes().tag(sync=True)
    #: Indices into the palette: uint8, or uint16 if it has more than 256 colours.
    codes = Bytes().tag(sync=True)
    #: uint8: 1 for shown cells, plus 2 for selected ones.
    flags = Bytes().tag(sync=True)
    palette = Bytes().tag(sync=True)
    #: Whether cells with great codes are drawn above those with small ones.
    high = Bool().tag(sync=True)
    #: RGBA of a square picture, and its position.
    density = Bytes().tag(sync=True)
    density_box = List(traitlets.Float()).tag(sync=True)
    #: The visible part of the unit square: left, bottom, right and top.
    window = List(traitlets.Float()).tag(sync=True)


class LegendWidget(anywidget.AnyWidget):
    """A legend: categories with their colours and numbers of cells, or a scale."""

    _esm = _source("legend.js")
    _css = _source("explorer.css")

    title = Unicode().tag(sync=True)
    note = Unicode().tag(sync=True)
    labels = List(Unicode()).tag(sync=True)
    counts = List(Int()).tag(sync=True)
    colours = List(Unicode()).tag(sync=True)
    hidden = List(Int()).tag(sync=True)
    #: Text at the ends of a scale; empty for categories.
    ends = List(Unicode()).tag(sync=True)


class Panel:
    """One embedding of a state, and its widget. Up to `most` cells are sent as points.
    With more cells, those in the visible region are sent as points if they are at most
    that many; otherwise, a picture of them is sent."""

    def __init__(self, state: State, place: Embedding, *, most: int, renderer: str):
        self._state, self._place, self._most = state, place, most
        self._whole = len(place.unit) <= most
        #: The cells that the widget has as points.
        self._rows: np.ndarray | slice = slice(None) if self._whole else np.zeros(0, np.int64)
        self.widget = ScatterWidget(name=place.name, renderer=renderer)
        self.widget.layout = Layout(flex="1 1 320px", min_width="240px", margin="0 8px")
        self._update()
        self.widget.observe(self._window_moved, "window")

    def changed(self, what: str) -> None:
        """Updates the widget after a change of the state's colours, shown cells or
        selection."""
        if not self._whole or what == "all":
            self._update()
        elif what == "colours":
            with self.widget.hold_sync():
                self._set_colours()
        elif what in ("visible", "selection"):
            self.widget.flags = self._flags()

    def _window_moved(self, _: Any) -> None:
        if not self._whole:
            self._update()

    def _update(self) -> None:
        picture, box = b"", []
        if not self._whole:
            box = self._box()
            rows = self._place.inside(box)
            rows = rows[self._state.visible[rows]]
            self._rows = rows
            if len(rows) > self._most:
                picture, self._rows = self._density(rows, box), rows[:0]
        with self.widget.hold_sync():
            self.widget.positions = self._place.wire(self._rows).tobytes()
            self.widget.flags = self._flags()
            self._set_colours()
            self.widget.density, self.widget.density_box = picture, list(box)

    def _box(self) -> Box:
        """The visible region and half as much again around it, as a square."""
        left, bottom, right, top = self.widget.window or (0.0, 0.0, 1.0, 1.0)
        half = max(right - left, top - bottom) * 0.75
        x, y = (left + right) / 2, (bottom + top) / 2
        return x - half, y - half, x + half, y + half

    def _density(self, rows: np.ndarray, box: Box) -> bytes:
        colouring, selected = self._state.colouring, self._state.mask
        return density(
            self._place.unit[rows],
            colouring.codes[rows],
            colouring.palette,
            side=_SIDE,
            box=box,
            selected=selected[rows] if selected.any() else None,
            numbers=colouring.ends is not None,
        ).tobytes()

    def _set_colours(self) -> None:
        colouring = self._state.colouring
        self.widget.palette = colouring.palette.tobytes()
        self.widget.high = colouring.ends is not None
        self.widget.codes = np.ascontiguousarray(colouring.codes[self._rows]).tobytes()

    def _flags(self) -> bytes:
        shown = self._state.visible & self._place.placed
        flags = shown * np.uint8(_SHOWN) + self._state.mask * np.uint8(_SELECTED)
        return flags[self._rows].tobytes()


def fill_legend(legend: LegendWidget, state: State) -> None:
    """Sends a legend the colours and the hidden categories."""
    colouring = state.colouring
    labels = list(colouring.categories or ())
    counts = colouring.counts
    shown = len(labels)
    if colouring.categories and counts[colouring.missing]:
        labels.append(filters.MISSING)
        shown = len(colouring.palette)
    palette = colouring.palette
    if colouring.ends is not None:
        palette = palette[:-1:32]
    with legend.hold_sync():
        legend.title, legend.note = colouring.title or "All cells", colouring.note
        legend.labels, legend.counts = labels, counts[:shown].tolist()
        legend.colours = [f"rgb({r},{g},{b})" for r, g, b in palette.tolist()]
        legend.hidden = [at for at, name in enumerate(labels) if name in state.hidden]
        legend.ends = ends_of(colouring.ends)


def ends_of(ends: tuple[float, float] | None) -> list[str]:
    """The ends of a scale as text."""
    if ends is None:
        return []
    return ["no values", ""] if np.isnan(ends[0]) else [f"{end:.4g}" for end in ends]


def on_legend(legend: LegendWidget, state: State) -> Any:
    """A handler of the legend's messages, which are sent on a click."""

    def on_message(_: Any, message: dict[str, Any], __: Any) -> None:
        name = legend.labels[message["at"]]
        {"hide": state.hide, "show": state.show, "only": state.isolate}[message["type"]](name)

    return on_message
