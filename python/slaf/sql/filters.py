"""The SQL of `filter_cells` and `filter_genes`: from keywords, whose values are bound and
never part of the text, and from conditions in SQL."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from slaf._slaf import SlafError, nearest
from slaf.dataset import Dataset
from slaf.ground.hints import did_you_mean
from slaf.sql.names import quoted
from slaf.sql.session import ask

#: Operators before a value, and their SQL; longer ones first.
_OPERATORS = {">=": ">=", "<=": "<=", "!=": "<>", "==": "=", ">": ">", "<": "<", "=": "="}
_LISTS = (list, tuple, set, frozenset, range, np.ndarray, pd.Series, pd.Index, pl.Series)


def filtered(dataset: Dataset, table: str, filters: dict[str, Any]) -> pl.DataFrame:
    """Rows of `cells` or `genes` that meet all `filters`, in the table's order."""
    where, params = [], {}
    for name, value in filters.items():
        column = _column(dataset, table, name)
        where.append(_condition(column, dataset.columns[table][column], value, params))
    columns = ", ".join(map(quoted, dataset.plain_columns(table)))
    order = "cell_integer_id" if table == "cells" else "gene_integer_id"
    text = f"SELECT {columns} FROM {table} WHERE {' AND '.join(where)} ORDER BY {order}"
    return ask(dataset, text, **params)


def rows_where(dataset: Dataset, table: str, condition: str) -> np.ndarray:
    """The rows of `cells` or `genes` for which a SQL condition is true, ascending."""
    number = f"{table.removesuffix('s')}_integer_id"
    found = ask(dataset, f"SELECT {number} FROM {table} WHERE ({condition}) ORDER BY {number}")
    return found[number].to_numpy()


def _column(dataset: Dataset, table: str, name: str) -> str:
    """The stored column `name`, which can also be AnnData's name for it."""
    stored = dataset.plain_columns(table)
    if name in stored:
        return name
    notes = dataset.column_notes("obs" if table == "cells" else "var")
    called = {note["name"]: note["stored"] for note in notes}
    if name in called:
        return called[name]
    near = did_you_mean(nearest(name, [*called, *stored]))
    raise SlafError(f"There is no column `{name}` in {table}.{near}")


def _condition(column: str, kind: str, value: Any, params: dict[str, Any]) -> str:
    if isinstance(value, _LISTS):
        return _one_of(column, kind, list(value), params)
    if _is_missing(value):
        return f"{quoted(column)} IS NULL"
    operator, operand = _parted(value)
    if operator in ("<", "<=", ">", ">=") and _is(kind, "Utf8", "LargeUtf8", "Dictionary"):
        raise SlafError(
            f"`{column}` holds texts, and `{value}` compares numbers. If it is meant as a text, "
            f"say `== {value}`."
        )
    hole = _bound(_typed(column, kind, operand), params)
    return f"{quoted(column)} {operator} {hole}"


def _one_of(column: str, kind: str, values: list[Any], params: dict[str, Any]) -> str:
    known = [_typed(column, kind, value) for value in values if not _is_missing(value)]
    condition = f"{quoted(column)} IN {_bound(known, params)}"
    if len(known) == len(values):
        return condition
    return f"({condition} OR {quoted(column)} IS NULL)"


def _bound(value: Any, params: dict[str, Any]) -> str:
    name = f"filter_{len(params)}"
    params[name] = value
    return f"${name}"


def _parted(value: Any) -> tuple[str, Any]:
    """The SQL operator, and the text after it."""
    if isinstance(value, str):
        for sign, operator in _OPERATORS.items():
            if value.startswith(sign):
                return operator, value[len(sign) :].strip()
    return "=", value


def _typed(column: str, kind: str, value: Any) -> Any:
    """`value` in a type that can be compared with the column."""
    value = value.item() if isinstance(value, np.generic) else value
    if _is(kind, "Int", "UInt", "Float"):
        if isinstance(value, (bool, int, float)):
            return int(value) if isinstance(value, bool) else value
        return _number(column, value)
    if _is(kind, "Boolean"):
        found = {"true": True, "false": False}.get(str(value).lower())
        if found is None:
            raise SlafError(f"`{column}` holds True and False, and `{value}` is neither.")
        return found
    if isinstance(value, (bool, int, float)):
        raise SlafError(f"`{column}` holds no numbers, and `{value}` is one.")
    if _is(kind, "Date", "Timestamp"):
        return _moment(column, kind, value)
    if _is(kind, "Duration"):
        raise SlafError(
            f"`{column}` holds durations, which filters do not compare. Ask in SQL: "
            f"`WHERE {column} >= INTERVAL '2 hours'`."
        )
    return value


def _moment(column: str, kind: str, value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise SlafError(f"`{column}` holds dates, and `{value}` is none.") from None
    if getattr(value, "tzinfo", None) is None:
        return value
    # A bound value has no time zone; it is read in the column's zone.
    zone = kind.split('"')[1] if '"' in kind else "UTC"
    return pd.Timestamp(value).tz_convert(zone).tz_localize(None).to_pydatetime()


def _number(column: str, value: Any) -> int | float:
    for kind in (int, float):
        try:
            return kind(value)
        except (TypeError, ValueError):
            continue
    raise SlafError(f"`{column}` holds numbers, and `{value}` is none.")


def _is(kind: str, *begin: str) -> bool:
    return kind.startswith(begin)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value
