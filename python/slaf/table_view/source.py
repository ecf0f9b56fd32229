"""The source of a table's rows: the FROM clause, and the session that runs it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.lazy.frame import LazyFrame, LazyObsView, place_of
from slaf.sql import Prepared, SqlSession, session_of
from slaf.sql.names import quoted
from slaf.table_view.columns import Column, Value

#: The engine's name for the rows of a frame.
_DATA = "data"


@dataclass
class Source:
    """`prepared` knows the tables in statements over `relation`. `row` is a column that
    identifies the rows and gives their order; `first` is its first value if all
    following values increase by one, otherwise None. `read` returns columns of some
    rows. `shown` is the relation, and `everything` all columns, in statements for the
    user."""

    prepared: Prepared
    relation: str
    shown: str
    row: str
    first: int | None
    everything: str
    columns: dict[str, Column]
    read: Callable[[list[str], list[int]], pl.DataFrame] | None = None

    def answer(
        self,
        text: str,
        values: dict[str, Value] | None = None,
        *,
        watch: Callable[[int, int], None] | None = None,
        engine: str | None = None,
    ) -> _slaf.Answer:
        """The engine's answer to `text`, in which `$name` is a value.

        Raises
        ------
        SlafError
            The engine refuses it.
        """
        params = {name: _param(value) for name, value in (values or {}).items()}
        bound = replace(
            self.prepared,
            text=text,
            statement=_slaf.parse_sql(text),
            params={**self.prepared.params, **params},
        )
        return bound.run(watch=watch, engine=engine)

    def frame(
        self, text: str, values: dict[str, Value] | None = None, **options: Any
    ) -> pl.DataFrame:
        """The same as a frame."""
        return pl.DataFrame(self.answer(text, values, **options))

    def take(self, names: list[str], rows: list[int]) -> pl.DataFrame:
        """Columns of some rows, in the given order."""
        if not rows or not names:
            return pl.DataFrame(schema={name: self.columns[name].dtype for name in names})
        if self.read is not None:
            return self.read(names, rows)
        row = quoted(self.row)
        text = f"SELECT {', '.join(map(quoted, [self.row, *names]))} FROM {self.relation} "
        found = self.frame(f"{text} WHERE {row} IN ({', '.join(map(str, rows))})")
        places = {at: place for place, at in enumerate(rows)}
        return found.sort(found[self.row].replace_strict(places, return_dtype=pl.Int64))


def source_of(data: Any, name: str | None, statement: str | None) -> Source:
    """The rows of `data`; see :func:`slaf.table`.

    Raises
    ------
    SlafError
        It is not a table.
    """
    if isinstance(data, LazyFrame):
        return _of_handle(data, name)
    frame = _frame(data)
    inner = f"({(statement or '').strip().rstrip(';')}\n) AS {quoted(name or 'answer')}"
    if statement is None or not _is_relation(inner):
        inner = quoted(name or _variable(lambda value: value is data) or _DATA)
    return _of_frame(frame, inner)


def _of_frame(frame: pl.DataFrame | pl.LazyFrame, shown: str) -> Source:
    names = frame.collect_schema().names()
    row = "__row"
    while row in names:
        row += "_"
    rows = frame.with_row_index(row)
    session = SqlSession({_DATA: rows}, lambda on: ([], None))
    source = _source(session, quoted(_DATA), shown, row, 0, names, "*")
    if isinstance(rows, pl.DataFrame):
        source.read = lambda names, at: frame.select(map(frame.get_column, names))[at]
    return source


def _of_handle(frame: LazyFrame, name: str | None) -> Source:
    """obs or var: read from the dataset if nothing of it can have changed; otherwise in
    its present state, in memory."""
    axis, table = ("obs", "cells") if isinstance(frame, LazyObsView) else ("var", "genes")
    found = name or _variable(lambda value: _is_axis(value, axis, frame))
    place = place_of(frame)
    if place is None or not _is_ascending(place.rows):
        return _of_frame(frame.to_polars(), quoted(found or axis))
    rows = place.rows
    shown = quoted(axis) if found is None else f"{quoted(found)}.{quoted(table)}"
    kind = table.removesuffix("s")
    names = [f"{kind}_id", *frame.columns]
    together = isinstance(rows, range) and rows.step == 1 and len(rows) > 0
    session = session_of(place.dataset, **{table: rows})
    everything = ", ".join(map(quoted, names))
    first = rows[0] if together else None
    source = _source(session, quoted(table), shown, f"{kind}_integer_id", first, names, everything)
    source.read = lambda names, at: pl.DataFrame(place.read(names, at)).fill_nan(None)
    return source


def _source(
    session: SqlSession,
    relation: str,
    shown: str,
    row: str,
    first: int | None,
    names: list[str],
    everything: str,
) -> Source:
    prepared = session.prepared(f"SELECT * FROM {relation} LIMIT 0")
    source = Source(prepared, relation, shown, row, first, everything, {})
    if names:
        listed = ", ".join(map(quoted, names))
        schema = source.frame(f"SELECT {listed} FROM {relation} LIMIT 0").schema
        source.columns = {name: Column(name, dtype) for name, dtype in schema.items()}
    return source


def _frame(data: Any) -> pl.DataFrame | pl.LazyFrame:
    """Anything that is a table in SQL, in the form that SQL sees."""
    if isinstance(data, (pl.DataFrame, pl.LazyFrame)):
        return data
    if isinstance(data, _slaf.Answer):
        return pl.DataFrame(data)
    session = SqlSession({_DATA: data}, lambda on: ([], None))
    try:
        return pl.DataFrame(session.run(f"SELECT * FROM {_DATA}"))
    except SlafError as error:
        if "There is no table" not in str(error):
            raise
        raise SlafError(
            f"`slaf.table` takes an answer, a frame, or a handle's `obs` or `var`, not "
            f"`{type(data).__name__}`."
        ) from None


def _is_relation(text: str) -> bool:
    """Whether one can select from a statement: not from CREATE TABLE or SHOW TABLES."""
    text = f"SELECT * FROM {text}"
    try:
        names = ["x" if is_name else None for _, is_name in _slaf.sql_holes(text)]
        return _slaf.parse_sql(_slaf.fill_sql(text, names)).kind == "ask"
    except SlafError:
        return False


def _is_ascending(rows: Any) -> bool:
    if isinstance(rows, range):
        return rows.step > 0
    return bool((rows[1:] > rows[:-1]).all())


def _is_axis(value: Any, axis: str, frame: LazyFrame) -> bool:
    return type(value).__name__ == "LazyAnnData" and getattr(value, axis) is frame


def _variable(matches: Callable[[Any], bool]) -> str | None:
    """The name of the notebook variable that holds an object."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return None
    named = (
        name for name, value in list(shell.user_ns.items()) if name[0] != "_" and matches(value)
    )
    return next(named, None)


def _param(value: Value) -> Any:
    """A value in the form that the engine accepts."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return ("timestamp", value.isoformat(sep=" "))
        moment = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return ("timestamptz", moment.isoformat(sep=" "))
    return ("date", value.isoformat()) if isinstance(value, datetime.date) else value
