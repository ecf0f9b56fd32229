"""`slaf.table`: an interactive table in a notebook, to sort, filter and page. The SQL
engine does the work; the browser holds one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slaf._slaf import SlafError

if TYPE_CHECKING:
    from slaf.table_view.widget import Table


def table(
    data: Any,
    *,
    columns: Sequence[str] | None = None,
    name: str | None = None,
    statement: str | None = None,
) -> Table:
    """An interactive table, to sort, filter and page.

    Parameters
    ----------
    data
        A result of `%%sql`, a frame of Polars (also lazy), pandas or pyarrow, or `obs`
        or `var` of a handle, which are read from the dataset.
    columns
        The columns to show at first, in this order; by default the first 50.
    name
        The name of the rows in `.sql`; by default the variable that holds them, or
        `data`.
    statement
        The SQL query whose result the rows are; `.sql` selects from it.

    Raises
    ------
    SlafError
        anywidget is not installed, `data` is not a table, or there is no such column.
    """
    try:
        import anywidget  # noqa: F401
    except ImportError:
        raise SlafError(
            "`slaf.table` needs anywidget. Install it by `pip install anywidget`."
        ) from None
    from slaf.table_view.source import source_of
    from slaf.table_view.widget import Table

    made = Table(source_of(data, name, statement))
    if columns is not None:
        made.show(*columns)
    return made
