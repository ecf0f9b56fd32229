"""The panes for selected cells: annotate, save, find similar ones, compare."""

from __future__ import annotations

import io
from functools import partial
from html import escape
from typing import Any

import ipywidgets as widgets

from slaf.explorer.colour_and_filter_panes import Run, button
from slaf.explorer.state import State

_WIDE = widgets.Layout(width="250px")
_SELECTION, _REST = "the selection", "all other shown cells"


class SelectionPane:
    """Annotates and saves the selection, and finds similar cells."""

    def __init__(self, state: State, run: Run):
        self._state, self._run = state, run
        self.column = widgets.Text(value="annotation", placeholder="column of obs", layout=_WIDE)
        self.value = widgets.Text(placeholder="what these cells are", layout=_WIDE)
        self.k = widgets.BoundedIntText(value=100, min=1, max=10**7, layout=_WIDE)
        self.message = widgets.HTML()
        self.widget = widgets.VBox(
            [
                widgets.Label("Annotate the selected cells"),
                self.column,
                self.value,
                widgets.HBox(
                    [
                        button("Annotate", lambda: run(self._annotate)),
                        button("Save", lambda: run(self._save), "Stores annotated columns"),
                        button("Clear selection", lambda: run(state.select)),
                    ]
                ),
                self.message,
                widgets.Label("How many cells like these to select"),
                self.k,
                button("Find similar", lambda: run(lambda: state.find_similar(self.k.value))),
            ]
        )

    def _annotate(self) -> None:
        column = self.column.value.strip()
        self._state.annotate(column, self.value.value)
        self._state.color_by(column)
        self.message.value = f"obs[{escape(repr(column))}] is set, and not saved yet."

    def _save(self) -> None:
        version = self._state.save()
        message = "Nothing was annotated." if version is None else f"Saved as version {version}."
        self.message.value = message


class ComparePane:
    """Compares two selections: a table and a dot plot."""

    def __init__(self, state: State, run: Run):
        self._state, self._run = state, run
        self.a, self.b = widgets.Dropdown(layout=_WIDE), widgets.Dropdown(layout=_WIDE)
        self.method = widgets.Dropdown(
            options=["t-test", "t-test_overestim_var", "wilcoxon"], layout=_WIDE
        )
        self.result = widgets.HBox(layout=widgets.Layout(align_items="flex-start"))
        keeps = [
            button(f"Keep as {name}", partial(run, partial(state.keep, name))) for name in "ABCD"
        ]
        self.refresh()
        self.widget = widgets.VBox(
            [
                widgets.Label("Keep the selection, to compare it"),
                widgets.HBox(keeps[:2]),
                widgets.HBox(keeps[2:]),
                widgets.Label("Genes that are higher in"),
                self.a,
                widgets.Label("than in"),
                self.b,
                self.method,
                button("Compare", lambda: run(self._compare)),
            ]
        )

    def refresh(self) -> None:
        """Offers the selections that were kept."""
        for choice, other in ((self.a, _SELECTION), (self.b, _REST)):
            options = [(other, "")]
            for name, mask in self._state.kept.items():
                options.append((f"{name} ({int(mask.sum()):,} cells)", name))
            chosen = choice.value or ""
            choice.options = options
            choice.value = chosen

    def _compare(self) -> None:
        found = self._state.compare(
            self.a.value or None, self.b.value or None, method=self.method.value
        )
        file = io.BytesIO()
        found.plot(10).savefig(file, format="png", dpi=70, bbox_inches="tight")
        message = f"{found.a} against {found.b}, {found.values}"
        table: Any = widgets.HTML(f"<b>{escape(message)}</b>{found._repr_html_()}")
        table.layout = widgets.Layout(max_height="330px", overflow="auto", flex="0 0 auto")
        self.result.children = (table, widgets.Image(value=file.getvalue(), format="png"))
