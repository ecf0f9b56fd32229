"""The part of a filter that SQL can evaluate, so that fewer rows are read. Polars filters
again, so a condition may keep too many rows, but never too few."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import polars as pl

from slaf.lazy.scan.predicate import conjuncts
from slaf.sql.names import quoted

_COMPARED = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_TURNED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
#: Maximum length of lists in a statement.
_FEW = 1000


def where(predicate: pl.Expr, schema: Mapping[str, Any]) -> list[str]:
    """SQL conditions that are true for every row for which `predicate` is true."""
    found = (_condition(part, schema) for part in conjuncts(predicate))
    return [condition for condition in found if condition is not None]


def _condition(part: pl.Expr, schema: Mapping[str, Any]) -> str | None:
    names = part.meta.root_names()
    if len(names) != 1 or names[0] not in schema:
        return None
    (name,) = names
    column, dtype = pl.col(name), schema[name]
    try:
        inputs = part.meta.pop()[::-1]
    except Exception:
        return None
    if column.is_null().meta.eq(part):
        return f"{quoted(name)} IS NULL"
    if column.is_not_null().meta.eq(part):
        return f"{quoted(name)} IS NOT NULL"
    if len(inputs) == 3 and column.is_between(*inputs[1:]).meta.eq(part):
        ends = [_values(end, dtype) for end in inputs[1:]]
        if None in ends or [len(end) for end in ends] != [1, 1]:
            return None
        return f"{quoted(name)} BETWEEN {ends[0][0]} AND {ends[1][0]}"
    if len(inputs) != 2:
        return None
    left, right = inputs
    reversed = right.meta.eq(column)
    if not (reversed or left.meta.eq(column)):
        return None
    values = _values(left if reversed else right, dtype)
    if values is None:
        return None
    if not reversed and column.is_in(right).meta.eq(part):
        return f"{quoted(name)} IN ({', '.join(values)})" if values else None
    for sign, compared in _COMPARED.items():
        if len(values) == 1 and compared(left, right).meta.eq(part):
            return f"{quoted(name)} {_TURNED[sign] if reversed else sign} {values[0]}"
    return None


def _values(expression: pl.Expr, dtype: Any) -> list[str] | None:
    """The values of a literal in SQL; None if one could have a different meaning there
    than in Polars, for a column of this type."""
    if expression.meta.root_names():
        return None
    try:
        found = pl.select(expression).to_series()
    except Exception:
        return None
    if found.dtype.is_nested():
        found = found.explode()
    if len(found) > _FEW:
        return None
    written = [_value(value, dtype) for value in found.to_list()]
    return None if None in written else written


def _value(value: Any, dtype: Any) -> str | None:
    if isinstance(value, str) and dtype == pl.String:
        return "'" + value.replace("'", "''") + "'" if "\0" not in value else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int) and dtype.is_integer():
        return str(value) if abs(value) < 2**63 else None
    # SQL distinguishes 0.0 from -0.0, and Polars first rounds to a column's float32.
    if isinstance(value, (int, float)) and dtype.is_float() and value and math.isfinite(value):
        rounded = struct.unpack("f", struct.pack("f", value))[0] if abs(value) < 1e38 else None
        if dtype == pl.Float64 or (dtype == pl.Float32 and rounded == value):
            return repr(float(value))
    return None
