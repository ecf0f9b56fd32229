"""The columns of a table: what can be done with each, and how its values are written."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from slaf._slaf import SlafError, nearest
from slaf.ground.hints import did_you_mean

Value = bool | int | float | str | datetime.date


@dataclass(frozen=True)
class Column:
    """A column and its kind: `integer`, `float`, `text`, `boolean`, `date`, `moment` (a
    date with a time), or `other`."""

    name: str
    dtype: pl.DataType

    @property
    def kind(self) -> str:
        dtype = self.dtype
        if dtype.is_integer() or getattr(dtype, "scale", None) == 0:
            return "integer"
        if dtype.is_float() or dtype == pl.Decimal:
            return "float"
        if dtype in (pl.String, pl.Categorical, pl.Enum):
            return "text"
        return _KINDS.get(dtype.base_type(), "other")

    @property
    def is_range(self) -> bool:
        """Whether it can be filtered by minimum and maximum."""
        return self.kind in ("integer", "float", "date", "moment")

    def value(self, given: Any) -> Value:
        """`given`, a text or a value, converted to the column's type.

        Raises
        ------
        SlafError
            It cannot be converted.
        """
        try:
            return self._value(given)
        except (ValueError, TypeError, OverflowError):
            raise SlafError(f"`{given}` is no {_CALLED[self.kind]}: {self.hint}.") from None

    def _value(self, given: Any) -> Value:
        kind = self.kind
        if isinstance(given, np.generic):
            given = given.item()
        if kind == "boolean":
            return _BOOLEANS[str(given).lower()] if str(given).lower() in _BOOLEANS else _no()
        if kind == "integer" and not isinstance(given, bool):
            # There is nothing between two integers, but a value can be above or below.
            number = float(given) if _has_point(given) else int(given)
            return int(number) if float(number).is_integer() else number
        if kind == "float" and not isinstance(given, bool):
            number = float(given)
            if math.isnan(number):
                _no()
            return float(np.float32(number)) if self.dtype == pl.Float32 else number
        if kind == "date":
            return given if type(given) is datetime.date else datetime.date.fromisoformat(given)
        if kind == "moment":
            return self._moment(given)
        return given if kind == "text" and isinstance(given, str) else _no()

    def _moment(self, given: Any) -> datetime.datetime:
        if isinstance(given, datetime.datetime):
            moment = given
        else:
            moment = datetime.datetime.fromisoformat(str(given).strip().replace("Z", "+00:00"))
        if getattr(self.dtype, "time_zone", None) is None:
            return moment.replace(tzinfo=None)
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)

    @property
    def hint(self) -> str:
        """Examples of filters that can be typed for it."""
        return {
            "integer": "write such as `> 5`, `2..8`, `7`, `!= 7` or `null`",
            "float": "write such as `> 0.5`, `2..8` or `null`",
            "date": "write such as `> 2024-01-31`, `2024-01-01..2024-01-31` or `null`",
            "moment": "write such as `> 2024-01-31 12:00` or `null`",
            "text": "write a part of it, `= all of it`, `!= all of it`, `/a pattern/` or `null`",
            "boolean": "write `true`, `false` or `null`",
        }.get(self.kind, "write `null` or `not null`")


def _no() -> Any:
    raise ValueError


def _has_point(given: Any) -> bool:
    return isinstance(given, float) or (
        isinstance(given, str) and not given.strip("+-_ ").isdigit()
    )


_KINDS = {pl.Boolean: "boolean", pl.Date: "date", pl.Datetime: "moment"}
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_CALLED = {
    **{"integer": "number", "float": "number", "text": "text", "boolean": "true or false"},
    **{"date": "date", "moment": "date with a time", "other": "value to filter by"},
}


def known(columns: Mapping[str, Column], name: Any) -> Column:
    """The column with this name.

    Raises
    ------
    SlafError
        There is no such column.
    """
    if name in columns:
        return columns[name]
    near = nearest(str(name), list(columns))
    raise SlafError(f"There is no column `{name}`.{did_you_mean(near)}")


def literal(value: Value) -> str:
    """A value as a SQL literal."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime.datetime):
        kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return f"{kind} '{value.isoformat(sep=' ')}'"
    if isinstance(value, datetime.date):
        return f"DATE '{value.isoformat()}'"
    infinite = isinstance(value, float) and math.isinf(value)
    return f"CAST('{value}' AS DOUBLE)" if infinite else repr(value)


def as_typed(value: Value) -> str:
    """A value as one would type it."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    return str(value).lower() if isinstance(value, bool) else str(value)
