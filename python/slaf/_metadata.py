"""obs and var: pandas frames to Arrow columns and back, losing nothing.

Strings, numbers and booleans are stored as such, missing values as NULL. What
Arrow does not say (category order, pandas dtypes, names that Lance refuses) is
written beside, in `config.json` under `slaf`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from slaf.data.sources.base import Column, Columns

#: What pandas holds text in: `str` from version 3, objects before.
TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else object

#: Columns that belong to the format.
RESERVED = {
    "cell_id",
    "cell_integer_id",
    "cell_start_index",
    "gene_id",
    "gene_integer_id",
}


def encode(
    frame: pd.DataFrame | Columns, id_column: str, taken: set[str]
) -> tuple[dict[str, pa.Array | Encoded], dict[str, Any]]:
    """Arrow columns of `frame` with its index as `id_column`, and the notes that
    :func:`decode` needs. `taken` are names that other columns will have."""
    columns: dict[str, pa.Array | Encoded] = {}
    notes = []
    for name, series in frame.items():
        stored = free_name(str(name), RESERVED | taken | columns.keys())
        if isinstance(series, pd.Series):
            columns[stored], note = encode_column(series)
        else:
            columns[stored] = Encoded(series)
            note = columns[stored].note
        notes.append({"name": str(name), "stored": stored} | note)
    if isinstance(frame, pd.DataFrame):
        ids, index_name = frame.index, frame.index.name
    else:
        ids, index_name = frame.ids(), frame.index_name
    columns[id_column] = _names(ids) if isinstance(ids, (pd.Index, pd.Series)) else Encoded(ids)
    index_name = None if index_name is None else str(index_name)
    return columns, {"index_name": index_name, "columns": notes}


class Encoded:
    """A column in its file, as Arrow by ranges of rows."""

    def __init__(self, column: Column):
        self._column = column
        first, self.note = encode_column(column.rows(0, 1))
        self.type = first.type

    def __len__(self) -> int:
        return len(self._column)

    def slice(self, start: int, length: int) -> pa.Array:
        return encode_column(self._column.rows(start, start + length))[0]


def _names(ids: pd.Index | pd.Series) -> pa.Array:
    return pa.array([str(name) for name in ids], type=pa.string())


#: What slafdb has a type for.
_SLAFDB = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {
    "float32",
    "float64",
    "bool",
}


def slafdb_dtypes(notes: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The dtypes of an encoded frame as slafdb takes them from `config.json`."""
    found = {}
    for note in notes["columns"]:
        of_text = note["dtype"] == "category" and note["categories_dtype"] == "str"
        if of_text or note["dtype"] in _SLAFDB:
            found[note["stored"]] = {"dtype": note["dtype"]}
    return found


def encode_column(series: pd.Series) -> tuple[pa.Array, dict[str, Any]]:
    """A column as Arrow, and the note that :func:`decode_column` needs."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _encode_categorical(series)
    note = {"dtype": str(series.dtype)}
    if series.dtype == object:
        values = [None if _is_missing(v) else v for v in series]
        kinds = {type(v) for v in values if v is not None}
        if kinds and kinds <= {bool, np.bool_}:
            return pa.array([None if v is None else bool(v) for v in values], pa.bool_()), note
        if not kinds <= {str}:
            warnings.warn(
                f"the column {series.name!r} holds {', '.join(k.__name__ for k in kinds)}; "
                "it is stored as text",
                stacklevel=2,
            )
        return pa.array([None if v is None else str(v) for v in values], pa.string()), note
    if isinstance(series.dtype, pd.StringDtype):
        return pa.array([None if _is_missing(v) else str(v) for v in series], pa.string()), note
    if series.dtype.kind == "f":
        # NaN is a value here, not a missing one.
        values = (
            series.to_numpy(na_value=np.nan)
            if not isinstance(series.dtype, np.dtype)
            else series.to_numpy()
        )
        mask = series.isna().to_numpy() if not isinstance(series.dtype, np.dtype) else None
        if values.dtype == np.float16:
            values = values.astype(np.float32)
        return pa.array(values, mask=mask, from_pandas=False), note
    return pa.array(series, from_pandas=True), note


def _encode_categorical(series: pd.Series) -> tuple[pa.Array, dict[str, Any]]:
    categories = series.cat.categories
    values = categories.to_numpy()
    codes = series.cat.codes.to_numpy()
    kind = "str" if values.dtype == object or values.dtype.kind in "UST" else values.dtype.name
    plain = [str(v) for v in values] if kind == "str" else values.tolist()
    dictionary = pa.array(plain)
    indices = pa.array(codes.astype(np.int64), mask=codes < 0)
    note = {
        "dtype": "category",
        "categories": plain,
        "categories_dtype": kind,
        "ordered": bool(series.cat.ordered),
    }
    return dictionary.take(indices), note


def decode_column(column: pa.ChunkedArray, note: dict[str, Any]) -> pd.Series:
    """A stored column as the pandas series it was, or, without a `dtype` in its
    note, as pandas holds such a column."""
    dtype = note.get("dtype")
    if dtype == "category":
        kind = note["categories_dtype"]
        categories = pd.Index(note["categories"], dtype=TEXT if kind == "str" else kind)
        stored = pa.array(note["categories"], column.type) if len(categories) else None
        found = None if stored is None else pc.index_in(column, value_set=stored)
        codes = np.full(len(column), -1) if found is None else found.fill_null(-1).to_numpy()
        values = pd.Categorical.from_codes(codes, categories=categories, ordered=note["ordered"])
        return pd.Series(values)
    if dtype is None:
        series = column.to_pandas()
        return series.where(series.notna(), np.nan) if series.dtype == object else series
    if dtype in ("object", "string", "str") or dtype.startswith("string"):
        series = pd.Series(column.to_numpy(zero_copy_only=False), dtype=object)
        series = series.where(series.notna(), np.nan)
        if dtype == "object":
            return series
        return series.astype(TEXT if dtype == "str" else "string")
    if dtype[0].isupper() or dtype == "boolean":
        missing = column.is_null().to_numpy(zero_copy_only=False)
        plain = column.fill_null(False if dtype == "boolean" else 0)
        series = pd.Series(plain.to_numpy(zero_copy_only=False)).astype(dtype)
        series[missing] = pd.NA
        return series
    return pd.Series(column.to_numpy()).astype(dtype)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def free_name(name: str, taken: set[str]) -> str:
    """Lance takes no dots in names, and no name twice."""
    free = name.replace(".", "_") or "_"
    while free in taken:
        free += "_"
    return free
