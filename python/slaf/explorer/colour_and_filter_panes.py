"""The panes beside the points, for colours and filters."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np

from slaf._slaf import SlafError
from slaf.explorer import colours, filters
from slaf.explorer.state import State

#: Errors whose message is shown to the user.
MISTAKES = (SlafError, KeyError, ValueError, OSError, ImportError)
#: Runs a function, and shows the message if it fails.
Run = Callable[[Callable[[], Any]], Any]

_WIDE = widgets.Layout(width="250px")
_SHORT = widgets.Layout(width="auto")


def button(text: str, pressed: Callable[[], Any], tooltip: str = "") -> widgets.Button:
    made = widgets.Button(description=text, tooltip=tooltip, layout=_SHORT)
    made.on_click(lambda _: pressed())
    return made


def sentence(error: BaseException) -> str:
    """The message of an error, without the quotes that KeyError adds."""
    return str(error.args[0]) if error.args and isinstance(error, KeyError) else str(error)


class ColourPane:
    """Chooses the column or gene for colours, and the embeddings to show."""

    def __init__(self, state: State, run: Run):
        self._state, self._run = state, run
        columns = [str(column) for column in state.handle.obs.columns]
        self.column = widgets.Dropdown(
            options=[("(a gene, or nothing)", ""), *((c, c) for c in columns)], layout=_WIDE
        )
        self.gene = widgets.Combobox(
            placeholder="Type a gene", continuous_update=True, layout=_WIDE, ensure_option=False
        )
        self.gene.options = tuple(state.genes.complete(""))
        self.near = widgets.HTML()
        keys = list(state.handle.obsm.keys())
        self.first = widgets.Dropdown(options=keys, layout=_WIDE)
        self.second = widgets.Dropdown(options=[("(none)", ""), *((k, k) for k in keys)])
        self.second.layout = _WIDE
        self.refresh()
        self.column.observe(self._column_chosen, "value")
        self.gene.observe(self._gene_typed, "value")
        for choice in (self.first, self.second):
            choice.observe(self._places_chosen, "value")
        self.widget = widgets.VBox(
            [
                widgets.Label("Colour by column"),
                self.column,
                widgets.Label("or by gene"),
                self.gene,
                self.near,
                widgets.Label("Embedding, and another beside it"),
                self.first,
                self.second,
            ]
        )

    def refresh(self) -> None:
        """Shows the current state, which other code may have changed."""
        title, places = self._state.colouring.title, list(self._state.places)
        columns = [str(column) for column in self._state.handle.obs.columns]
        options = [("(a gene, or nothing)", ""), *((c, c) for c in columns)]
        self._quiet = True
        if list(self.column.options) != options:
            self.column.options = options
        self.column.value = title if title in columns else ""
        self.first.value = places[0]
        self.second.value = places[1] if len(places) > 1 else ""
        self._quiet = False

    def _column_chosen(self, change: Any) -> None:
        if not self._quiet:
            self._run(lambda: self._state.color_by(change.new or None))

    def _places_chosen(self, _: Any) -> None:
        if not self._quiet:
            keys = [key for key in (self.first.value, self.second.value) if key]
            self._run(lambda: self._state.show_embeddings(*keys))

    def _gene_typed(self, change: Any) -> None:
        typed, genes = change.new.strip(), self._state.genes
        self.near.value = ""
        if typed:
            try:
                at = genes.find(typed)
            except MISTAKES as error:
                if isinstance(error, SlafError) or not genes.complete(typed, 1):
                    self.near.value = escape(sentence(error))
            else:
                self._run(lambda: self._state.color_by(gene=at))
        self.gene.options = tuple(genes.complete(typed))


class FilterPane:
    """Filters on columns, each with its controls and a button to remove it."""

    def __init__(self, state: State, run: Run):
        self._state, self._run = state, run
        columns = [str(column) for column in state.handle.obs.columns]
        self.column = widgets.Dropdown(
            options=[("Add a filter on ...", ""), *((c, c) for c in columns)], layout=_WIDE
        )
        self.column.observe(self._column_chosen, "value")
        self.rows: dict[str, _Row] = {}
        self.list = widgets.VBox()
        show_all = button("Show all cells", lambda: run(state.show_all))
        self.widget = widgets.VBox([self.column, self.list, show_all])

    def _column_chosen(self, change: Any) -> None:
        if change.new:
            self._run(lambda: self.open(change.new))
            self.column.value = ""

    def open(self, column: str) -> None:
        """Shows the controls of a column's filter in its present state."""
        series = self._state.handle.obs[column]
        make = self._of_numbers if colours.is_numeric(series) else self._of_categories
        row = make(column, series)
        row.condition = self._state.filters.get(column)
        self.rows[column] = row
        self.list.children = tuple(self.rows.values())

    def refresh(self) -> None:
        """Shows the current filters, which other code may have changed."""
        present = self._state.filters
        for column, row in list(self.rows.items()):
            if row.condition is not None and column not in present:
                del self.rows[column]
        for column, condition in present.items():
            if column not in self.rows or self.rows[column].condition != condition:
                self.open(column)
        self.list.children = tuple(self.rows.values())

    def _of_numbers(self, column: str, series: Any) -> _Row:
        counts, edges = filters.histogram(series)
        low, high = float(edges[0]), float(edges[-1])
        now = self._state.filters.get(column)
        if not isinstance(now, filters.Between):
            now = filters.Between(None, None)
        slider = widgets.FloatRangeSlider(
            value=np.clip(
                [low if now.low is None else now.low, high if now.high is None else now.high],
                low,
                high,
            ).tolist(),
            min=low,
            max=high if high > low else low + 1,
            step=(high - low) / 200 or 1,
            readout_format=".4g",
            continuous_update=False,
            layout=_WIDE,
        )

        def moved(change: Any) -> None:
            # The ends of the slider are open, so cells outside of them are shown, too.
            ends = zip(change.new, (low, high), strict=True)
            self._set(column, tuple(None if np.isclose(end, edge) else end for end, edge in ends))

        slider.observe(moved, "value")
        return self._row(column, [widgets.HTML(bars(counts)), slider])

    def _of_categories(self, column: str, series: Any) -> _Row:
        names = filters.named_categories(series)
        codes, _ = colours.coded(column, series)
        counts = np.bincount(codes % len(names), minlength=len(names))
        present = [(name, n) for name, n in zip(names, counts.tolist(), strict=True) if n]
        now = self._state.filters.get(column)
        hidden = now.hidden if isinstance(now, filters.Without) else ()
        chosen = widgets.SelectMultiple(
            options=[(f"{name}  {n:,}", name) for name, n in present],
            value=[name for name, _ in present if name not in hidden],
            rows=min(8, len(present) + 1),
            layout=_WIDE,
        )
        chosen.observe(lambda change: self._set(column, list(change.new)), "value")
        return self._row(column, [chosen])

    def _set(self, column: str, wanted: Any) -> None:
        series = self._state.handle.obs[column]
        self.rows[column].condition = filters.condition(series, wanted)
        self._run(lambda: self._state.filter(column, wanted))

    def _row(self, column: str, controls: list[widgets.Widget]) -> _Row:
        title = widgets.HTML(f"<b>{escape(column)}</b>")
        away = button("✕", lambda: self._run(lambda: self._away(column)), "Take the filter away")
        return _Row([widgets.HBox([title, away]), *controls])

    def _away(self, column: str) -> None:
        del self.rows[column]
        self._state.filter(column)


class _Row(widgets.VBox):
    """The controls of a filter, and their values."""

    condition: filters.Condition | None = None


def bars(counts: np.ndarray) -> str:
    """A histogram as SVG."""
    most = max(int(counts.max(initial=0)), 1)
    width = 230 / max(len(counts), 1)
    rects = "".join(
        f'<rect x="{at * width:.1f}" y="{40 - 40 * n / most:.1f}" '
        f'width="{width - 0.5:.1f}" height="{40 * n / most:.1f}"/>'
        for at, n in enumerate(counts.tolist())
    )
    return f'<svg width="230" height="40" fill="#3c6edc" role="img">{rects}</svg>'
