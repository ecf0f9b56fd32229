"""The interface through which Polars requests the rows of a table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from slaf._slaf import SlafError
from slaf.lazy.scan import batch_fetches

#: With sources in Python, Polars 1.20 loses filters that it cannot pass on, versions up
#: to 1.24 can deadlock, and in versions up to 1.30 the streaming engine needs columns
#: that were not requested.
_OLDEST = (1, 31)


class Source:
    """A table: its columns, and a method that reads some of them."""

    #: Its name in plans.
    title: str
    schema: dict[str, Any]

    def batches(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        """`columns` of the rows for which `predicate` is true, in order; only from the
        first `n_rows` rows of the table, before filtering."""
        raise NotImplementedError

    def described(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> list[str]:
        """A description of what :meth:`batches` would read."""
        raise NotImplementedError

    def __call__(
        self,
        columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        batches = self.batches(self._wanted(columns), predicate, n_rows)
        if columns == []:
            # Rows may be numbered or counted: `drop` keeps their number, `select` does not.
            batches = (batch.drop(batch.columns) for batch in batches)
        return batch_fetches.Batches(batches)

    def _wanted(self, columns: list[str] | None) -> list[str]:
        known = list(self.schema)
        return known if columns is None else list(columns) or known[:1]

    def __reduce__(self) -> Any:
        look = _LOOK.get()
        if look is None:
            return _made, (type(self), self.__dict__)
        look.sources.append(self)
        return _looked_at, (len(look.sources) - 1,)


class Look:
    """An inspection of a plan: its sources, and descriptions of what they would
    read."""

    def __init__(self) -> None:
        self.sources: list[Source] = []
        self.lines: list[str] = []

    def at(self, what: Callable[[], Any]) -> Any:
        """Makes a copy of `what`, in which sources only describe what they would read."""
        token = _LOOK.set(self)
        try:
            return what()
        finally:
            _LOOK.reset(token)


class _Inspected:
    """Replaces a source during an inspection: describes what the source would read, and
    returns no rows."""

    def __init__(self, source: Source, look: Look):
        self._source, self._look = source, look

    def __call__(
        self,
        columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        source = self._source
        wanted = source._wanted(columns)
        lines = source.described(wanted, predicate, n_rows)
        self._look.lines += [source.title, *(f"  {line}" for line in lines)]
        return iter([pl.DataFrame(schema={name: source.schema[name] for name in wanted})])


def registered(source: Source) -> pl.LazyFrame:
    """`source` as a LazyFrame.

    Raises
    ------
    SlafError
        Polars is too old.
    """
    version = tuple(int(n) for n in pl.__version__.split(".")[:2] if n.isdigit())
    if version < _OLDEST:
        raise SlafError(
            f"polars {pl.__version__} has errors in plans over sources like this one. Upgrade it "
            "to 1.31 or later: `pip install -U polars`."
        )
    known = inspect.signature(register_io_source).parameters
    options = {"is_pure": True, "explain_name": "slaf", "explain_detail": source.title}
    return register_io_source(
        source, schema=source.schema, **{k: v for k, v in options.items() if k in known}
    )


_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


def _made(kind: type[Source], state: dict[str, Any]) -> Source:
    source = kind.__new__(kind)
    source.__dict__.update(state)
    return source


def _looked_at(number: int) -> _Inspected:
    look = _LOOK.get()
    return _Inspected(look.sources[number], look)
