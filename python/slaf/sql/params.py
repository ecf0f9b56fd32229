"""Python values as parameters of a statement."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from slaf._slaf import SlafError
from slaf.sql.tables import table_of

#: Longer lists of ids are joined as a table.
FEW = 200
#: Longer lists of numbers are not treated as vectors.
_VECTOR = 8192


def param(name: str, value: Any, frames: dict[str, Any]) -> Any:
    """`value` in the form that the engine accepts; long lists and frames become tables."""
    if isinstance(value, pl.Series):
        value = value.to_list()
    elif isinstance(value, (pd.Series, pd.Index, np.ndarray)):
        if getattr(value, "ndim", 1) != 1:
            raise SlafError(f"`{name}` has {value.ndim} dimensions, and a list has one.")
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset, range)):
        items = [_scalar(name, item) for item in value]
        numbers = all(isinstance(item, float) for item in items)
        if len(items) <= FEW or (numbers and len(items) <= _VECTOR):
            return items
        value = pa.table({"value": pa.array(items)})
    table = None if isinstance(value, str) else table_of(value)
    if table is None:
        return _scalar(name, value)
    columns = len(value.columns) if hasattr(value, "columns") else 1
    if columns != 1:
        raise SlafError(f"`{name}` has {columns} columns, and a list has one. Select one of them.")
    frames[f"_param:{name}"] = table
    return ("frame", f"_param:{name}")


def _scalar(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return ("timestamp", value.isoformat(sep=" "))
        moment = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return ("timestamptz", moment.isoformat(sep=" "))
    if isinstance(value, datetime.date):
        return ("date", value.isoformat())
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise SlafError(f"`{name}` is {value}, which does not fit a BIGINT.")
    if isinstance(value, (bool, int, float, str)):
        return value
    raise SlafError(
        f"`{name}` is a {type(value).__name__}, and SQL takes numbers, texts, dates, lists and "
        "frames."
    )
