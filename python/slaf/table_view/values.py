"""Values of a page as text for the browser."""

from __future__ import annotations

import datetime
import math
from typing import Any

import polars as pl

#: Maximum number of characters of a text, and of values of a list, to show.
_CHARACTERS, _FEW = 200, 5

#: A cell: text; None for a missing value; or a list with the name of a special number:
#: NaN, inf, -inf.
Cell = str | None | list[str]


def cells(column: pl.Series) -> list[Cell]:
    """The values of a column on a page."""
    if isinstance(column.dtype, (pl.List, pl.Array)):
        return [None if value is None else _listed(value) for value in column.to_list()]
    return [cell(value) for value in column.to_list()]


def cell(value: Any) -> Cell:
    """One value; integers keep all their digits, other numbers six."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return _cut("0x" + value[:_CHARACTERS].hex())
    if isinstance(value, list):
        return _listed(value)
    if isinstance(value, dict):
        return _cut("{" + ", ".join(f"{k}: {_inner(v)}" for k, v in value.items()) + "}")
    return _cut(str(value))


def _listed(values: list[Any]) -> str:
    shown = ", ".join(_inner(value) for value in values[:_FEW])
    more = f", … {len(values):,} values" if len(values) > _FEW else ""
    return _cut(f"[{shown}{more}]")


def _inner(value: Any) -> str:
    shown = cell(value)
    return "NULL" if shown is None else shown[0] if isinstance(shown, list) else shown


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"


def _float(value: Any) -> Cell:
    """Six digits, as in the tables of query results."""
    if not math.isfinite(value):
        return ["NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"]
    size = abs(value)
    if size == 0:
        return "0"
    if not 1e-4 <= size < 1e9:
        return f"{value:.5e}"
    text = f"{value:.{min(max(5 - math.floor(math.log10(size)), 0), 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
