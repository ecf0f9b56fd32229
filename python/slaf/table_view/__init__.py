"""`slaf.table`: an interactive table in a notebook, to sort, filter and page. The SQL
engine does the work; the browser holds one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf._slaf import SlafError

if TYPE_CHECKING:
    from slaf.table_view.widget import Table


def table(data: Any, *, name: str | None = None, statement: str | None = None) -> Table:
    """A table in which one sorts, filters and pages.

    Parameters
    ----------
    data
        An answer of `%%sql`, a frame of polars (lazy ones, too), pandas or pyarrow, or
        `obs` or `var` of a handle, which are read where they lie.
    name
        What `.sql` calls the rows; by default the variable that holds them, and `data`
        without one.
    statement
        The SQL that the rows are the answer of: `.sql` begins with it.

    Raises
    ------
    SlafError
        anywidget is not installed, or `data` is no table.
    """
    try:
        import anywidget  # noqa: F401
    except ImportError:
        raise SlafError(
            "`slaf.table` needs anywidget. Install it by `pip install anywidget`."
        ) from None
    from slaf.table_view.source import source_of
    from slaf.table_view.widget import Table

    return Table(source_of(data, name, statement))
