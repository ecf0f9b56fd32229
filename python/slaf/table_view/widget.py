"""The widget: the messages between browser and kernel.

The browser sends `hello`, `state` and `tick`. The kernel answers with a `page` as soon
as it has it, then with a `summary` for each column, or with an `error`. The kernel
knows the whole state; a browser holds one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import polars as pl
import traitlets

from slaf._slaf import SlafError
from slaf.ground.static_display import WIDGET_VIEW, where_no_widgets_run
from slaf.table_view.columns import known
from slaf.table_view.filters import Filter
from slaf.table_view.newest_request import Latest, Superseded
from slaf.table_view.rows import Rows, Watch
from slaf.table_view.source import Source
from slaf.table_view.state import MOST_COLUMNS, State
from slaf.table_view.summary import Summaries
from slaf.table_view.values import cells

_HERE = Path(__file__).parent
#: Number of rows that a saved notebook shows.
_SAVED = 20


class Table(anywidget.AnyWidget):
    """A table to sort, filter and page; made by :func:`slaf.table`."""

    _esm = _HERE / "table.js"
    _css = _HERE / "table.css"
    #: For each column, its name, kind, type, and examples of filters.
    _columns = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, source: Source):
        columns = [
            {"name": c.name, "kind": c.kind, "type": str(c.dtype).lower(), "hint": c.hint}
            for c in source.columns.values()
        ]
        super().__init__(_columns=columns)
        self._source, self._rows = source, Rows(source)
        self._summaries = Summaries(source, self._rows)
        self._state = self._good = State(shown=tuple(source.columns)[:MOST_COLUMNS])
        self._ticked: set[int] = set()
        self._is_seen = False
        #: The filters of the summaries that the browser has, and their columns.
        self._sent: tuple[Mapping[str, Filter], set[str]] = {}, set()
        self._latest = Latest(self._answer)
        self.on_msg(self._heard)

    # In Python ------------------------------------------------------------------

    @property
    def sql(self) -> str:
        """The query for all remaining rows, in their order, for a `%%sql` cell."""
        return self._rows.shown(self._state)

    def frame(self) -> pl.DataFrame:
        """All remaining rows in their order (rows that compare equal keep the table's
        order), with all columns, visible or not."""
        return self._rows.frame(self._state)

    @property
    def selection(self) -> pl.DataFrame:
        """The ticked rows in the order on screen, whether they meet the filters or not."""
        return self._rows.ticked(sorted(self._ticked), self._state)

    def sort(self, *names: str, descending: bool = False) -> None:
        """Sorts the rows by columns, missing values last; without arguments, restores
        the original order.

        Raises
        ------
        SlafError
            There is no such column.
        """
        order = tuple((known(self._source.columns, name).name, descending) for name in names)
        self._show(replace(self._state, order=order, page=0))

    def filter(self, filters: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Sets the filters of columns, and keeps those of others; without arguments,
        removes all filters.

        A filter is what one can type into the header of the column, such as `"> 500"`,
        `"2..8"`, a part of a text, `"= all of it"`, `"/a pattern/"`, `"null"` or `""`;
        a list of values; one value; or None for missing values.

        Raises
        ------
        SlafError
            There is no such column, or the filter does not fit it.
        """
        given = {**(filters or {}), **more}
        left = dict(self._state.filters) if given else {}
        for name, wanted in given.items():
            made = Filter.of(known(self._source.columns, name), wanted)
            if made is not None:
                left[name] = made
            else:
                left.pop(name, None)
        self._show(replace(self._state, filters=left, page=0))

    def show(self, *names: str) -> None:
        """Shows these columns, in this order; without arguments, the first 50.

        Raises
        ------
        SlafError
            There is no such column, or there are more than 100.
        """
        columns = self._source.columns
        chosen = [known(columns, name).name for name in names] or [*columns][:MOST_COLUMNS]
        self._show(self._state.showing(list(dict.fromkeys(chosen))))

    def idle(self, timeout: float | None = None) -> bool:
        """Waits until everything requested is on screen; returns whether it is, after
        at most `timeout` seconds."""
        return self._latest.wait(timeout)

    def _show(self, state: State) -> None:
        try:
            self._rows.count(state)
        except SlafError as error:
            raise SlafError(_sentence(error)) from None
        self._state = state
        self._ask()

    # With the browser -----------------------------------------------------------

    def _ask(self, answers: Mapping[str, Any] | None = None) -> None:
        """Answers a browser's message, or sends a change to all browsers."""
        if self._is_seen:
            echoed = {key: (answers or {}).get(key) for key in ("view", "ask")}
            self._latest.ask((self._state, echoed))

    def _heard(self, _: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        kind = message.get("type")
        try:
            if kind == "tick":
                change = self._ticked.update if message["on"] else self._ticked.difference_update
                change(int(row) for row in message["rows"])
                self.send({"type": "ticked", "count": len(self._ticked)})
                return
            if kind == "hello":
                self._is_seen, self._sent = True, ({}, set())
            elif kind == "state":
                self._state = State.of(message["state"], self._source.columns)
            self._ask(message)
        except SlafError as error:
            self._refuse(error, message)

    def _answer(self, request: tuple[State, dict[str, Any]], go_on: Watch) -> None:
        state, echoed = request
        try:
            state = self._page(state, echoed, go_on)
            self._send_summaries(state, go_on)
        except Superseded:
            raise
        except Exception as error:
            # Any error of the engine, or of a frame that it reads.
            if self._state is request[0]:
                self._state = self._good
            self._refuse(error, echoed)

    def _page(self, state: State, echoed: dict[str, Any], go_on: Watch) -> State:
        count = self._rows.count(state, go_on)
        last = max((count - 1) // state.size, 0)
        shown = state.at(min(state.page, last))
        keys, page = self._rows.page(shown, go_on)
        if self._state is state:
            self._state = shown
        self._good = shown
        columns = [cells(page[name]) for name in shown.shown]
        rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in keys]
        self.send(
            {
                "type": "page",
                **echoed,
                "state": shown.to_browser(),
                "keys": keys,
                "ticks": [key in self._ticked for key in keys],
                "ticked": len(self._ticked),
                "rows": rows,
                "count": count,
                "total": self._rows.total(),
                "sql": self._rows.shown(shown),
            }
        )
        return shown

    def _send_summaries(self, state: State, go_on: Watch) -> None:
        if self._sent[0] != state.filters:
            self._sent = state.filters, set()
        sent = self._sent[1]
        for name in state.shown:
            if name not in sent:
                summary = self._summaries.of(name, state, go_on)
                self.send({"type": "summary", "name": name, "summary": summary})
                sent.add(name)

    def _refuse(self, error: Exception, echoed: Mapping[str, Any]) -> None:
        answers = {key: echoed.get(key) for key in ("view", "ask")}
        self.send({"type": "error", **answers, "message": _sentence(error)})

    # Without a browser ----------------------------------------------------------

    def _ipython_display_(self) -> None:
        """Displays the widget, and apart from it the first rows: an export with the state
        of the widget shows nothing else of the widget's own display."""
        from IPython.display import display

        data, _ = self._repr_mimebundle_()
        widget = {WIDGET_VIEW: data.pop(WIDGET_VIEW), "text/plain": "Interactive table"}
        display(widget, raw=True)
        display(where_no_widgets_run(data), raw=True)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and the first rows for places that show no widgets."""
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        try:
            answer = self._rows.answer(self._state, _SAVED)
            count = self._rows.count(self._state)
            html, text = answer._repr_html_(), repr(answer)
            if count > _SAVED:
                html = f"<div>The first {_SAVED} of {count:,} rows</div>{html}"
                text = f"The first {_SAVED} of {count:,} rows\n{text}"
        except SlafError as error:
            html, text = f"<div>{escape(_sentence(error))}</div>", _sentence(error)
        return {**data, "text/html": html, "text/plain": text}, metadata


def _sentence(error: Exception) -> str:
    """An error as one sentence."""
    text = str(error).strip()
    if "regex parse error" in text:
        return "The pattern between `/` and `/` is no regular expression."
    return text.splitlines()[0] if text else type(error).__name__
