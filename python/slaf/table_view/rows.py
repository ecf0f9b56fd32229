"""The SQL statements of a state: one counts the rows, others find those on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

from slaf import _slaf
from slaf.sql.names import quoted
from slaf.table_view.columns import Value, literal
from slaf.table_view.source import Source
from slaf.table_view.state import State

#: Up to this row, a page is found by keeping only the first rows (10,000,000 rows: 60
#: ms). Later pages need all rows sorted (10 s), which is done once per sort order.
_NEAR = 1000

Watch = Callable[[int, int], None]


class Rows:
    """The rows of a source in a given state."""

    def __init__(self, source: Source):
        self._source = source
        #: The total number of rows, and the number after the last filters.
        self._counts: dict[tuple, int] = {}
        #: All rows for the last filters and sort order for which a far page was
        #: requested.
        self._sorted: tuple[tuple, pl.Series] | None = None

    def count(self, state: State, watch: Watch | None = None) -> int:
        """Number of rows that remain after filtering."""
        key = _filtered(state)
        # The notebook's thread may call this at the same time as the table's own.
        count = self._counts.get(key)
        if count is None:
            text, values = self.statement("COUNT(*) AS n", state)
            count = self._source.frame(text, values, watch=watch)["n"][0]
            whole = {k: n for k, n in self._counts.items() if k == ()}
            self._counts = {**whole, key: count}
        return count

    def total(self) -> int:
        """Number of rows without any filter."""
        return self.count(State())

    def page(self, state: State, watch: Watch | None = None) -> tuple[list[int], pl.DataFrame]:
        """The rows of the page, by `source.row`, and their values in the columns shown.

        To find them, only the columns of the filters and the sort order are read; the
        others are read for these rows."""
        rows = self._on_page(state, watch)
        return rows, self._source.take(list(state.shown), rows)

    def frame(self, state: State) -> pl.DataFrame:
        """All rows that remain after filtering, in order, with all columns."""
        return self._sought(state)

    def ticked(self, rows: Iterable[int], state: State) -> pl.DataFrame:
        """The given rows in the order of the state, with all columns."""
        return self._sought(State(order=state.order), list(rows))

    def statement(
        self, select: str, state: State, more: str = "", also: str = ""
    ) -> tuple[str, dict[str, Value]]:
        """A statement over the rows that remain after filtering, and its values."""
        values: dict[str, Value] = {}

        def bind(value: Value) -> str:
            values[f"p{len(values)}"] = value
            return f"$p{len(values) - 1}"

        where = [w for w in (state.where(self._source.columns, bind), also) if w]
        text = f"SELECT {select} FROM {self._source.relation}"
        text += f" WHERE {' AND '.join(where)}" if where else ""
        return f"{text} {more}".rstrip(), values

    def answer(self, state: State, limit: int) -> _slaf.Answer:
        """The first rows, with the visible columns."""
        order = ", ".join([*state.by(), quoted(self._source.row)])
        names = ", ".join(map(quoted, state.shown)) or "*"
        return self._source.answer(*self.statement(names, state, f"ORDER BY {order} LIMIT {limit}"))

    def shown(self, state: State) -> str:
        """The statement for all rows as a user would write it."""
        source = self._source
        lines = [f"SELECT {source.everything}", f"FROM {source.shown}"]
        where = state.where(source.columns, literal)
        lines += [f"WHERE {where}"] if where else []
        lines += [f"ORDER BY {', '.join(state.by())}"] if state.order else []
        return "\n".join(lines)

    def _on_page(self, state: State, watch: Watch | None) -> list[int]:
        count, first = self.count(state, watch), self._source.first
        begin = min(state.page * state.size, count)
        end = min(begin + state.size, count)
        if first is not None and not (state.filters or state.order):
            return list(range(first + begin, first + end))
        if end <= _NEAR:
            return self._first(state, end - begin, begin, watch)
        if count - begin <= _NEAR:
            return self._first(state, end - begin, count - end, watch, reversed=True)[::-1]
        return self._all(state, watch)[begin:end].to_list()

    def _first(
        self, state: State, n: int, after: int, watch: Watch | None, *, reversed: bool = False
    ) -> list[int]:
        """`n` rows after an offset, counted from the beginning or from the end."""
        row = quoted(self._source.row)
        order = [*state.by(reversed=reversed), f"{row} {'DESC' if reversed else 'ASC'}"]
        more = f"ORDER BY {', '.join(order)} LIMIT {n} OFFSET {after}"
        text, values = self.statement(row, state, more)
        return self._source.frame(text, values, watch=watch).to_series().to_list()

    def _all(self, state: State, watch: Watch | None) -> pl.Series:
        """The numbers of all rows of the table, in order."""
        key = (_filtered(state), state.order)
        kept = self._sorted
        if kept is None or kept[0] != key:
            row = quoted(self._source.row)
            text, values = self.statement(row, state, f"ORDER BY {', '.join([*state.by(), row])}")
            # DataFusion spills to disk, and can be interrupted.
            found = self._source.frame(text, values, watch=watch, engine="datafusion")
            self._sorted = kept = key, found.to_series()
        return kept[1]

    def _sought(self, state: State, rows: list[int] | None = None) -> pl.DataFrame:
        row = self._source.row
        names = ", ".join(map(quoted, [row, *self._source.columns]))
        also = "" if rows is None else f"{quoted(row)} IN ({', '.join(map(str, rows or [-1]))})"
        more = f"ORDER BY {', '.join([*state.by(), quoted(row)])}"
        text, values = self.statement(names, state, more, also)
        return self._source.frame(text, values, engine="datafusion").drop(row)


def _filtered(state: State) -> tuple:
    return tuple(state.filters.items())
