"""Converts pandas Series to Arrow columns."""

from __future__ import annotations

import base64
import datetime
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from slaf._slaf import SlafError
from slaf.ground.dtypes import NUMBERS
from slaf.ground.metadata.decode import decode_column
from slaf.ground.metadata.names import stored_names, text_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slaf.ground.metadata.frames import Column, Columns

#: Rows of a column that are read back as a check.
_TRIED = 64

#: Rows of a column in its file whose categories are counted at once.
_COUNTED = 1 << 20


def encode(
    frame: pd.DataFrame | Columns, axis: str, keys: Iterable[str], notices: dict[str, str]
) -> tuple[dict[str, pa.Array | Encoded], dict[str, Any], dict[str, str]]:
    """Encodes obs or var. Returns its Arrow columns, with its index as ids; the notes
    that :func:`decode_column` needs; and the names under which the vectors `keys` of
    obsm or varm are stored in the same table. `notices` collects what changes its form."""
    items = list(frame.items())
    names = text_names([name for name, _ in items], axis, notices)
    vectors, stored = stored_names(keys, names)
    columns: dict[str, pa.Array | Encoded] = {}
    notes = []
    for name, (_, series) in zip(names, items, strict=True):
        where = f"{axis}/{name}"
        if isinstance(series, pd.Series):
            columns[stored[name]], note = tried(series, where, notices)
        else:
            columns[stored[name]] = Encoded(series, where)
            note = columns[stored[name]].note
        notes.append({"name": name, "stored": stored[name]} | note)
    if isinstance(frame, pd.DataFrame):
        ids, index_name = frame.index, frame.index.name
    else:
        ids, index_name = frame.ids(), frame.index_name
    plain = isinstance(ids, (pd.Index, pd.Series))
    id_column = "cell_id" if axis == "obs" else "gene_id"
    columns[id_column] = _names(ids) if plain else Encoded(ids, f"{axis}_names")
    index_name = None if index_name is None else str(index_name)
    return columns, {"index_name": index_name, "columns": notes}, vectors


class Encoded:
    """A column that stays in its file, read as Arrow in ranges of rows."""

    def __init__(self, column: Column, where: str):
        self._column, self._where = column, where
        first, self.note = tried(column.rows(0, _TRIED), where, {})
        self.type = first.type
        if "counts" in self.note or "ends" in self.note:
            self.note |= self._known()

    def __len__(self) -> int:
        return len(self._column)

    def slice(self, start: int, length: int) -> pa.Array:
        part = self._column.rows(start, start + length)
        array = encode_column(part, self._where, {})[0]
        return array if array.type == self.type else array.cast(self.type)

    def _known(self) -> dict[str, Any]:
        """The note that :func:`tried` makes, but of all rows."""
        counts, ends = np.zeros(len(self.note.get("categories", ())), dtype=np.int64), []
        for start in range(0, len(self), _COUNTED):
            part = self._column.rows(start, min(start + _COUNTED, len(self)))
            array, note = encode_column(part, self._where, {})
            if "counts" in note:
                counts += note["counts"]
            else:
                ends.append(_ends(array))
        return _noted(ends) if "ends" in self.note else {"counts": counts.tolist()}


def _ends(array: pa.Array) -> tuple[Any, Any, int]:
    """The least and the greatest number, None if there is none, and how many are
    missing."""
    found = pc.min_max(array)
    return found["min"].as_py(), found["max"].as_py(), array.null_count


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _noted(ends: list[tuple[Any, Any, int]]) -> dict[str, Any]:
    """The ends of all parts for displays. JSON has no infinite numbers."""
    low = min((low for low, _, _ in ends if low is not None), default=None)
    high = max((high for _, high, _ in ends if high is not None), default=None)
    finite = low is not None and bool(np.isfinite([low, high]).all())
    missing = sum(missing for _, _, missing in ends)
    return {"ends": [low, high, missing] if finite else [None, None, missing]}


def _names(ids: pd.Index | pd.Series) -> pa.Array:
    return pa.array([str(name) for name in ids], type=pa.string())


def slafdb_dtypes(notes: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The dtypes of an encoded frame in the form that slafdb expects in `config.json`."""
    found = {}
    for note in notes["columns"]:
        of_text = note["dtype"] == "category" and note["categories_dtype"] == "str"
        if of_text or note["dtype"] in NUMBERS:
            found[note["stored"]] = {"dtype": note["dtype"]}
    return found


def tried(
    series: pd.Series, where: str, notices: dict[str, str]
) -> tuple[pa.Array, dict[str, Any]]:
    """:func:`encode_column`, after which the column is read back as a check. The note
    also has the ends of numbers."""
    array, note = encode_column(series, where, notices)
    if "categories" not in note and _is_number(array.type):
        note |= _noted([_ends(array)])
    try:
        decode_column(pa.chunked_array([array.slice(0, _TRIED)]), note)
    except Exception as error:
        raise refusal(series, where, error) from None
    return array, note


def encode_column(
    series: pd.Series, where: str | None = None, notices: dict[str, str] | None = None
) -> tuple[pa.Array, dict[str, Any]]:
    """A column as Arrow, and the note that :func:`decode_column` needs. `notices` collects
    what changes its form; without it, there is a warning.

    Raises
    ------
    SlafError
        Arrow cannot hold it. The message names `where`.
    """
    where = str(series.name) if where is None else where
    changed: dict[str, str] = {}
    try:
        encoded = _encoded(series, where, changed)
    except SlafError:
        raise
    except Exception as error:
        raise refusal(series, where, error) from None
    if notices is None:
        warn_of(changed, stacklevel=3)
    else:
        notices.update(changed)
    return encoded


def warn_of(notices: dict[str, str], stacklevel: int = 2) -> None:
    """One warning that names everything that changed its form."""
    if notices:
        entries = "; ".join(f"`{where}`: {how}" for where, how in notices.items())
        warnings.warn(
            f"These are stored in another form. {entries}.", UserWarning, stacklevel=stacklevel + 1
        )


def refusal(series: pd.Series, where: str, error: Exception) -> SlafError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return SlafError(
        f"`{where}` is of dtype {series.dtype}, which cannot be stored as it is ({reason[:200]}). "
        "Convert it, to text for instance, or leave it out."
    )


def _encoded(
    series: pd.Series, where: str, notices: dict[str, str]
) -> tuple[pa.Array, dict[str, Any]]:
    dtype, note = series.dtype, {"dtype": str(series.dtype)}
    if isinstance(dtype, pd.CategoricalDtype):
        return _categorical(series, where, notices)
    if dtype == np.dtype(object):
        return _objects(series, where, notices)
    if isinstance(dtype, pd.StringDtype):
        nullable = dtype.na_value is pd.NA
        return _texts(series), {"dtype": f"string[{dtype.storage}]" if nullable else "str"}
    if isinstance(dtype, pd.ArrowDtype):
        return _arrow(series, note)
    if isinstance(dtype, pd.SparseDtype):
        array, inner = _encoded(series.sparse.to_dense(), where, notices)
        return array, note | {"as": inner}
    if isinstance(dtype, pd.PeriodDtype):
        return pa.array(series.dt.start_time, from_pandas=True), note
    if isinstance(dtype, pd.IntervalDtype):
        return _texts(series), note
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _zoned(series, dtype)
    if dtype.kind == "c":
        return pa.array([None if v != v else repr(complex(v)) for v in series], pa.string()), note
    return _numbers(series, note)


def _numbers(series: pd.Series, note: dict[str, Any]) -> tuple[pa.Array, dict[str, Any]]:
    if not isinstance(series.dtype, np.dtype):
        return pa.array(series, from_pandas=True), note
    values = series.to_numpy()
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
        note = {"dtype": values.dtype.name}
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    elif values.dtype.kind == "f" and values.dtype.itemsize > 8:
        narrow, note = values.astype(np.float64), {"dtype": "longdouble"}
        if not (narrow == values)[values == values].all():
            raise ValueError("it has more digits than a float64")
        values = narrow
    # A missing float is stored like any other missing value.
    return pa.array(values, from_pandas=True), note


def _zoned(series: pd.Series, dtype: pd.DatetimeTZDtype) -> tuple[pa.Array, dict[str, Any]]:
    array = pa.array(series, from_pandas=True)
    note = {"dtype": f"datetime64[{dtype.unit}, {array.type.tz}]"}
    if array.type.tz[0] in "+-":
        # For zones without a name, SQL supports only whole hours.
        array = array.cast(pa.timestamp(dtype.unit, "UTC"))
    return array, note


def _texts(series: pd.Series) -> pa.Array:
    missing = series.isna().to_numpy()
    values = zip(series.astype(object), missing, strict=True)
    return pa.array([None if gap else str(value) for value, gap in values], pa.string())


def as_texts(series: pd.Series) -> pd.Series:
    """The text of each value; None if it is missing."""
    missing = series.isna()
    values = series.astype(object)
    for value in values[~missing]:
        if callable(value) or (hasattr(value, "__array__") and not isinstance(value, np.generic)):
            raise TypeError(f"it holds a {type(value).__name__}")
    texts = [None if gap else str(v) for v, gap in zip(values, missing, strict=True)]
    return pd.Series(texts, index=series.index, dtype=object)


def _arrow(series: pd.Series, note: dict[str, Any]) -> tuple[pa.Array, dict[str, Any]]:
    kind = series.dtype.pyarrow_dtype
    array = pa.array(series)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    stored = _stored_type(kind)
    array = array if stored == array.type else array.cast(stored)
    if pa.types.is_floating(stored):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, stored), array)
    schema = pa.schema([("x", kind)]).serialize().to_pybytes()
    return array, note | {"arrow": base64.b64encode(schema).decode()}


def _stored_type(kind: pa.DataType) -> pa.DataType:
    """A type that the engine can read, for values of type `kind`."""
    if pa.types.is_dictionary(kind):
        return _stored_type(kind.value_type)
    if pa.types.is_decimal(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    return kind


def _objects(
    series: pd.Series, where: str, notices: dict[str, str]
) -> tuple[pa.Array, dict[str, Any]]:
    """Encodes a column of Python objects by their types."""
    kind = pd.api.types.infer_dtype(series, skipna=True)
    note = {"dtype": "object"}
    if kind in ("string", "empty"):
        return _texts(series), note
    missing = series.isna()
    values = [None if gap else v for v, gap in zip(series, missing, strict=True)]
    if kind == "boolean":
        return pa.array([None if v is None else bool(v) for v in values], pa.bool_()), note
    if kind in ("integer", "floating", "mixed-integer-float"):
        array = _exact_numbers(values, float if kind != "integer" else int)
        if array is not None:
            return array, note
    if kind in ("date", "time") and {type(v) for v in values} <= {
        type(None),
        datetime.date if kind == "date" else datetime.time,
    }:
        return pa.array(values), note
    if kind == "decimal":
        return _texts(series), note | {"as": "decimal"}
    if kind == "bytes":
        notices[where] = "bytes as text"
        return pa.array([None if v is None else v.decode() for v in values], pa.string()), note
    if kind in ("datetime", "datetime64", "timedelta", "timedelta64", "period", "interval"):
        typed = series.where(~missing, pd.NaT).infer_objects()
        if typed.dtype != object:
            return _encoded(typed, where, notices)
    notices[where] = _kinds_as_text(values)
    return _texts(as_texts(series)), note


def _kinds_as_text(values: Iterable[Any]) -> str:
    kinds = sorted({type(v).__name__ for v in values if v is not None})
    return f"{', '.join(kinds)} as text"


def _exact_numbers(values: list[Any], of: type) -> pa.Array | None:
    """None if no single type can hold all the numbers."""
    plain = [None if v is None else of(v) for v in values]
    if any(a != b for a, b in zip(plain, values, strict=True)):
        return None
    if of is float:
        return pa.array(plain, pa.float64())
    for kind in (pa.int64(), pa.uint64()):
        try:
            return pa.array(plain, kind)
        except (OverflowError, pa.ArrowInvalid):
            continue
    return None


def _categorical(
    series: pd.Series, where: str, notices: dict[str, str]
) -> tuple[pa.Array, dict[str, Any]]:
    codes, found = series.cat.codes.to_numpy().astype(np.int64), {}
    categories = pd.Series(series.cat.categories, name=series.name)
    values, of = _encoded(categories, where, found)
    if found:
        # Categories with the same text become one category.
        texts = values.to_pylist()
        notices[where] = f"categories: {found[where]}"
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        codes = np.where(codes < 0, -1, np.array([places[t] for t in texts] or [0])[codes])
        values = pa.array(list(places), pa.string())
    plain = of["dtype"] in ("object", "str") and pa.types.is_string(values.type) and len(of) == 1
    note = {
        "dtype": "category",
        "categories": _in_json(values),
        "categories_dtype": "str" if plain else of["dtype"],
        "ordered": bool(series.cat.ordered),
        # For displays, which read nothing.
        "counts": np.bincount(codes[codes >= 0], minlength=len(values)).tolist(),
    }
    if not plain and (len(of) > 1 or of["dtype"] == "object"):
        note["of"] = of
    return values.take(pa.array(codes, mask=codes < 0)), note


def _in_json(values: pa.Array) -> list[Any]:
    """Categories in the form of a note. Floats are written as text, because some JSON
    readers do not keep all digits."""
    kind = values.type
    if pa.types.is_temporal(kind):
        return values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
    if pa.types.is_floating(kind):
        return [repr(v) for v in values.to_pylist()]
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer)
    if not any(is_kind(kind) for is_kind in known):
        raise TypeError(f"categories of {kind}")
    return values.to_pylist()
