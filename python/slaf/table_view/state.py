"""The state of the view: filters by column, a sort order, and a page of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from slaf._slaf import SlafError
from slaf.sql.names import quoted
from slaf.table_view.columns import Column, Value, known
from slaf.table_view.filters import Filter

#: Maximum number of rows per page, and the number of columns shown by default.
MOST_ROWS, MOST_COLUMNS = 200, 50


@dataclass(frozen=True)
class State:
    """`order` has the columns to sort by, and whether to sort descending; `shown` has
    the visible columns."""

    filters: Mapping[str, Filter] = field(default_factory=dict)
    order: tuple[tuple[str, bool], ...] = ()
    page: int = 0
    size: int = 50
    shown: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: Mapping[str, Any], columns: Mapping[str, Column]) -> State:
        """A state from the browser's message.

        Raises
        ------
        SlafError
            It names a column that does not exist, or a filter is not valid.
        """
        filters = {
            name: wanted
            for name, given in message["filters"].items()
            if (wanted := Filter.of(known(columns, name), given)) is not None
        }
        order = tuple((known(columns, name).name, bool(down)) for name, down in message["order"])
        shown = tuple(known(columns, name).name for name in message["shown"])
        return cls(filters, order).at(int(message["page"]), int(message["size"])).showing(shown)

    def at(self, page: int, size: int | None = None) -> State:
        size = min(max(size or self.size, 1), MOST_ROWS)
        return replace(self, page=max(page, 0), size=size)

    def showing(self, names: Sequence[str]) -> State:
        if len(names) > 2 * MOST_COLUMNS:
            raise SlafError(f"{2 * MOST_COLUMNS} columns are shown at most, not {len(names)}.")
        return replace(self, shown=tuple(names))

    def to_browser(self) -> dict[str, Any]:
        """The state for the browser."""
        return {
            "filters": {name: wanted.to_browser() for name, wanted in self.filters.items()},
            "order": [list(key) for key in self.order],
            "page": self.page,
            "size": self.size,
            "shown": list(self.shown),
        }

    def where(self, columns: Mapping[str, Column], bind: Callable[[Value], str]) -> str:
        """All filters as a SQL WHERE clause; empty without filters."""
        found = [wanted.condition(columns[name], bind) for name, wanted in self.filters.items()]
        found = [f"({c})" if " OR " in c and len(found) > 1 and c[0] != "(" else c for c in found]
        return " AND ".join(found)

    def by(self, *, reversed: bool = False) -> list[str]:
        """The sort order as a SQL ORDER BY clause, with missing values last."""
        return [
            f"{quoted(name)} {'DESC' if down != reversed else 'ASC'} "
            f"NULLS {'FIRST' if reversed else 'LAST'}"
            for name, down in self.order
        ]
