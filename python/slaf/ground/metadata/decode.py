"""Converts stored columns to pandas Series."""

from __future__ import annotations

import base64
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

#: pandas' dtype for text: `str` from version 3, objects before.
TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else object


def decode_column(column: pa.ChunkedArray, note: dict[str, Any]) -> pd.Series:
    """A stored column as the original pandas Series. If its note has no `dtype`,
    pandas' usual dtype is used."""
    dtype = note.get("dtype")
    if dtype is None:
        series = column.to_pandas()
        return series.where(series.notna(), np.nan) if series.dtype == object else series
    if dtype == "category":
        return _categories(column, note)
    if dtype == "object":
        return _objects(column, note)
    if "arrow" in note:
        return _arrow(column, note["arrow"])
    if dtype == "str" or dtype.startswith("string"):
        return _texts(column).astype(TEXT if dtype == "str" else dtype)
    if dtype.startswith("Sparse"):
        return decode_column(column, note["as"]).astype(dtype)
    if dtype.startswith("period"):
        return pd.Series(column.to_numpy()).dt.to_period(dtype[len("period[") : -1])
    if dtype.startswith("interval"):
        return _intervals(column, pd.IntervalDtype(dtype))
    if dtype.startswith("datetime64") and "," in dtype:
        zone = pd.DatetimeTZDtype.construct_from_string(dtype)
        plain = pd.Series(column.to_numpy()).astype(f"datetime64[{zone.unit}]")
        return plain.dt.tz_localize("UTC").dt.tz_convert(zone.tz)
    if dtype.startswith("complex"):
        texts = column.to_numpy(zero_copy_only=False)
        return pd.Series([complex(text or "nan") for text in texts], dtype=dtype)
    if dtype[0].isupper() or dtype == "boolean":
        return _nullable(column, pd.api.types.pandas_dtype(dtype))
    return pd.Series(column.to_numpy()).astype(dtype)


def category_values(texts: list[Any], kind: pa.DataType) -> pa.Array:
    """The categories in a note, as an Arrow column of type `kind`."""
    if pa.types.is_temporal(kind):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return pa.array(texts, width).cast(kind)
    if pa.types.is_floating(kind) and texts and isinstance(texts[0], str):
        return pa.array(texts, pa.string()).cast(kind)
    return pa.array(texts, kind)


def _categories(column: pa.ChunkedArray, note: dict[str, Any]) -> pd.Series:
    texts, kind = note["categories"], note["categories_dtype"]
    values = category_values(texts, column.type if texts or kind != "str" else pa.string())
    plain = decode_column(pa.chunked_array([values]), note.get("of", {"dtype": kind}))
    codes = np.full(len(column), -1)
    if texts:
        codes = pc.index_in(column, value_set=values).fill_null(-1).to_numpy()
    categories = pd.Index(plain, dtype=plain.dtype)
    ordered = note["ordered"]
    return pd.Series(pd.Categorical.from_codes(codes, categories=categories, ordered=ordered))


def _texts(column: pa.ChunkedArray) -> pd.Series:
    series = pd.Series(column.to_numpy(zero_copy_only=False), dtype=object)
    return series.where(series.notna(), np.nan)


def _objects(column: pa.ChunkedArray, note: dict[str, Any]) -> pd.Series:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        series = _texts(column)
    else:
        series = pd.Series(column.to_pylist(), dtype=object)
        series = series.where(series.notna(), np.nan)
    if note.get("as") == "decimal":
        return series.map(decimal.Decimal, na_action="ignore").astype(object)
    return series


def _nullable(column: pa.ChunkedArray, dtype: Any) -> pd.Series:
    missing = column.is_null().to_numpy(zero_copy_only=False)
    plain = column.fill_null(False if str(dtype) == "boolean" else 0)
    values = plain.to_numpy(zero_copy_only=False).astype(dtype.numpy_dtype)
    return pd.Series(dtype.construct_array_type()(values, missing))


def _intervals(column: pa.ChunkedArray, dtype: pd.IntervalDtype) -> pd.Series:
    """Parses texts such as `(0.5, 1.0]`."""
    texts = _texts(column)
    ends = texts.str.slice(1, -1).str.split(", ", expand=True).reindex(columns=[0, 1])
    left, right = (ends[n].astype(dtype.subtype) for n in (0, 1))
    return pd.Series(pd.arrays.IntervalArray.from_arrays(left, right, closed=dtype.closed))


def _arrow(column: pa.ChunkedArray, schema: str) -> pd.Series:
    kind = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema))).field(0).type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type).dictionary_encode()
    elif column.type != kind:
        column = column.cast(kind)
    return pd.Series(pd.arrays.ArrowExtensionArray(column))
