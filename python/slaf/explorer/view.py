"""The explorer on a screen: panels and panes that show a state and change it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython.display import display, update_display

from slaf.explorer.colour_and_filter_panes import MISTAKES, ColourPane, FilterPane, sentence
from slaf.explorer.scatter import LegendWidget, Panel, fill_legend, on_legend
from slaf.explorer.selection_panes import ComparePane, SelectionPane
from slaf.explorer.state import State
from slaf.explorer.still_picture import png
from slaf.ground.progress import shown_by
from slaf.ground.static_display import where_no_widgets_run

#: Maximum number of cells that are sent as points.
MOST_POINTS = 2_000_000


class View:
    """The widget of a state; `widget` is the ipywidgets object.

    Parameters
    ----------
    most
        Maximum number of cells that are sent as points; more are sent as a picture.
    renderer
        "webgl", "canvas", or "auto" for WebGL if there is a graphics card.
    """

    def __init__(self, state: State, *, most: int = MOST_POINTS, renderer: str = "auto"):
        self.state, self._most, self._renderer = state, most, renderer
        self._picture_id: str | None = None
        self.panels: list[Panel] = []
        self.plots = widgets.HBox(layout=widgets.Layout(flex="1 1 auto"))
        self.legend = LegendWidget(layout=widgets.Layout(flex="0 0 220px", width="220px"))
        self.legend.on_msg(on_legend(self.legend, state))
        self.status, self.progress, self.mistake = (widgets.HTML() for _ in range(3))
        self.colours = ColourPane(state, self.run)
        self.filters = FilterPane(state, self.run)
        self.selections = SelectionPane(state, self.run)
        self.comparisons = ComparePane(state, self.run)
        panes: dict[str, Any] = {
            "Colour": self.colours,
            "Filter": self.filters,
            "Select": self.selections,
            "Compare": self.comparisons,
        }
        tabs = widgets.Tab([pane.widget for pane in panes.values()], titles=list(panes))
        tabs.layout = widgets.Layout(flex="0 0 300px")
        row = widgets.HBox([tabs, self.plots, self.legend])
        self.widget = widgets.VBox(
            [row, self.status, self.progress, self.mistake, self.comparisons.result]
        )
        self._place_panels()
        fill_legend(self.legend, state)
        self._count()
        state.watch(self.changed)

    def run(self, action: Callable[[], Any]) -> None:
        """Runs a command; if it fails, shows the reason."""
        self.mistake.value = ""
        try:
            with shown_by(self._show_progress):
                action()
        except MISTAKES as error:
            self.mistake.value = f"<b>{escape(sentence(error))}</b>"

    def _show_progress(self, html: str) -> None:
        self.progress.value = html

    def changed(self, what: str) -> None:
        """Updates the widgets after a change of the state."""
        if what == "places":
            self._place_panels()
        for panel in self.panels:
            panel.changed(what)
        if what in ("colours", "visible"):
            fill_legend(self.legend, self.state)
        if what in ("colours", "places"):
            self.colours.refresh()
        if what == "visible":
            self.filters.refresh()
        if what == "kept":
            self.comparisons.refresh()
        self._count()

    def _place_panels(self) -> None:
        self.panels = [
            Panel(self.state, place, most=self._most, renderer=self._renderer)
            for place in self.state.places.values()
        ]
        for panel, place in zip(self.panels, self.state.places.values(), strict=True):
            panel.widget.on_msg(self._told_by(place))
        self.plots.children = tuple(panel.widget for panel in self.panels)

    def _told_by(self, place: Any) -> Callable[..., None]:
        def on_message(_: Any, message: dict[str, Any], __: Any) -> None:
            if message["type"] == "settled":
                self._update_picture()
                return
            corners = [
                (x * place.side + place.corner[0], y * place.side + place.corner[1])
                for x, y in message["polygon"]
            ]
            self.run(lambda: self.state.lasso(corners, place.name))

        return on_message

    def _count(self) -> None:
        state = self.state
        n, shown, chosen = len(state.visible), int(state.visible.sum()), int(state.mask.sum())
        unplaced = {name: int((~p.placed).sum()) for name, p in state.places.items()}
        parts = [f"{n:,} cells", f"{shown:,} shown", f"{chosen:,} selected"]
        parts += [
            f"{cells:,} without a place in {name}" for name, cells in unplaced.items() if cells
        ]
        if state.filters:
            parts.append(f"filtered by {', '.join(state.filters)}")
        self.status.value = escape(" · ".join(parts))

    # The picture ------------------------------------------------------------------

    def keep_picture(self) -> None:
        """Shows a picture of the state in places where widgets do not run."""
        kept = display(self._bundle(), raw=True, display_id=self._picture_id or True)
        self._picture_id = kept.display_id if kept is not None else self._picture_id

    def _update_picture(self) -> None:
        if self._picture_id is not None:
            update_display(self._bundle(), raw=True, display_id=self._picture_id)

    def _bundle(self) -> dict[str, Any]:
        picture = {"image/png": png(self.state), "text/plain": repr(self.state)}
        return where_no_widgets_run(picture)
