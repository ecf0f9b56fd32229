"""Converts values of uns and frames to types that anndata can write to HDF5.

A warning names what changes its form. An error names what cannot be converted."""

from __future__ import annotations

import datetime
import decimal
import enum
import os
import uuid
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.ground.metadata.columns import NUMPY, h5_column, takes
from slaf.ground.metadata.names import text_names

_NAMES = str.maketrans({"/": "|", "\0": "_"})


def h5_name(name: Any, taken: Any, where: str, notices: dict[str, str]) -> str:
    """`name` in a form that HDF5 allows and that is not in `taken`."""
    plain = str(name).translate(_NAMES)
    plain = "_" if plain in ("", ".", "..") else plain
    while plain in taken:
        plain += "_"
    if plain != name:
        notices[f"{where}/{name}"] = f"named {plain!r}"
    return plain


def h5_frame(frame: pd.DataFrame, where: str, notices: dict[str, str]) -> pd.DataFrame:
    """A frame in the form that anndata writes."""
    if isinstance(frame.index, pd.MultiIndex):
        notices[where] = "levels of the index as columns"
        frame = frame.reset_index()
    texts = text_names(frame.columns, where, notices)
    index_name, columns = frame.index.name, {}
    index = h5_column(pd.Series(frame.index), f"{where}: its index", notices).array
    for number, text in enumerate(texts):
        name = h5_name(text, {"_index"} | columns.keys() | set(texts) - {text}, where, notices)
        column = h5_column(frame.iloc[:, number], f"{where}/{text}", notices)
        columns[name] = pd.Series(column.array, dtype=column.dtype)
    plain = pd.DataFrame(columns, index=range(len(frame)))
    plain.index = pd.Index(index, dtype=getattr(index, "dtype", None))
    if index_name is not None:
        name = h5_name(index_name, ("_index",), f"{where}: its index", notices)
        if name in columns and not pd.Series(index).equals(columns[name]):
            # anndata stores both in the same place.
            notices[f"{where}: its index"] = f"without its name {name!r}, which is a column's, too"
        else:
            plain.index.name = name
    return plain


def h5_value(value: Any, where: str, notices: dict[str, str]) -> Any:
    """`value` in the form that anndata writes.

    Raises
    ------
    SlafError
        It cannot be converted.
    """
    if value is None or isinstance(value, (bool, float, np.bool_, np.integer, np.inexact)):
        if not isinstance(value, np.timedelta64):
            return value
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return _text(str(value), where)
    if isinstance(value, Mapping):
        return h5_mapping(value, where, notices)
    if isinstance(value, pd.DataFrame):
        return h5_frame(value, where, notices)
    if isinstance(value, np.ndarray):
        return _array(value, where, notices)
    for kinds, form in _FORMS:
        if isinstance(value, kinds):
            return form(value, where, notices)
    if hasattr(value, "to_pandas"):
        notices[where] = f"{type(value).__name__} as pandas has it"
        return h5_value(value.to_pandas(), where, notices)
    if not takes(value):
        if not hasattr(value, "__array__") or callable(value):
            raise _refused(value, where)
        notices[where] = f"{type(value).__name__} as an array"
        return _array(np.asarray(value), where, notices)
    return value


def _refused(value: Any, where: str) -> SlafError:
    return SlafError(
        f"`{where}` is a {type(value).__name__}, which cannot be stored. Take it out, or turn it "
        "into numbers, text, arrays, frames or a dictionary of them."
    )


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SlafError(f"`{where}` holds text that is not Unicode. Take it out.") from None
    if "\0" in value:
        raise SlafError(f"`{where}` holds text with a zero byte. Take it out.")
    return value


def h5_mapping(
    value: Mapping[Any, Any], where: str, notices: dict[str, str], beside: Iterable[str] = ()
) -> dict[str, Any]:
    """A dictionary in the form that anndata writes. Its names differ from those in
    `beside`, and a changed name does not replace another."""
    found: dict[str, Any] = {}
    names = text_names(value, where, notices)
    for key, name in zip(value, names, strict=True):
        taken = found.keys() | {*beside, *names} - {name}
        found[h5_name(name, taken, where, notices)] = h5_value(
            value[key], f"{where}/{name}", notices
        )
    return found


def _array(value: np.ndarray, where: str, notices: dict[str, str]) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        value = _unmasked(value, where, notices)
    if not isinstance(value, np.ndarray) or value.dtype.kind in "biufcT":
        return value
    if value.dtype.kind == "V" and value.dtype.names is not None:
        return _records(value, where, notices)
    if value.dtype.kind == "U":
        return value
    if value.ndim == 0:
        return h5_value(value.item(), where, notices)
    if value.dtype.kind == "S":
        value = value.astype(object)
    if value.dtype == object and any(isinstance(v, _NESTED) for v in value.flat):
        raise _refused(value, where)
    plain = h5_column(pd.Series(value.ravel()), where, notices).array
    if value.ndim == 1:
        return plain.to_numpy() if isinstance(plain, NUMPY) else plain
    if not isinstance(plain, NUMPY):
        raise _refused(value, where)
    return plain.to_numpy().reshape(value.shape)


#: Types that are not a single value of an array.
_NESTED = (list, tuple, Set, Mapping)


def _unmasked(value: np.ma.MaskedArray, where: str, notices: dict[str, str]) -> Any:
    if not np.ma.is_masked(value):
        return value.data
    if value.dtype.kind == "f":
        notices[where] = "masked values as NaN"
        return value.filled(np.nan)
    if value.ndim != 1 or value.dtype.kind not in "biu":
        raise _refused(value, where)
    kind = pd.arrays.BooleanArray if value.dtype.kind == "b" else pd.arrays.IntegerArray
    return kind(value.data, np.ma.getmaskarray(value))


def _records(value: np.ndarray, where: str, notices: dict[str, str]) -> np.ndarray:
    """In records, missing text is `nan`, as in numpy."""
    fields = {}
    for name in value.dtype.names:
        field = value[name]
        if field.dtype == object:
            if any(not isinstance(v, str) for v in field.ravel()):
                notices[f"{where}/{name}"] = "all as text"
            field = np.array([str(v) for v in field.ravel()], object).reshape(field.shape)
        fields[name] = field
    plain = np.empty(value.shape, [(n, f.dtype, f.shape[value.ndim :]) for n, f in fields.items()])
    for name, field in fields.items():
        plain[name] = field
    if not takes(plain):
        raise _refused(value, where)
    return plain


def _listed(value: Any, where: str, notices: dict[str, str]) -> Any:
    if not isinstance(value, list):
        notices[where] = f"{type(value).__name__} as a list"
    values = list(value)
    if isinstance(value, Set):
        values.sort(key=lambda v: (type(v).__name__, v) if isinstance(v, (str, int)) else str(v))
    if not values:
        return values
    flat = all(isinstance(v, _FLAT) or v is None for v in values)
    if flat and not all(isinstance(v, str) for v in values):
        array = np.empty(len(values), object)
        array[:] = values
        return _array(array, where, notices)
    try:
        array = np.array([_text(v, where) for v in values] if flat else values)
    except ValueError:
        raise _refused(value, where) from None
    return values if flat else _array(array, where, notices)


#: Types of lists' values that are single values.
_FLAT = (str, bytes, bool, int, float, complex, np.generic, datetime.date, datetime.timedelta)


def _index(value: pd.Index, where: str, notices: dict[str, str]) -> Any:
    if isinstance(value, pd.MultiIndex):
        notices[where] = "MultiIndex as a frame"
        return h5_frame(value.to_frame(index=False), where, notices)
    notices[where] = f"{type(value).__name__} as an array"
    values = h5_column(pd.Series(value), where, notices).array
    return values.to_numpy() if isinstance(values, NUMPY) else values


def _series(value: pd.Series, where: str, notices: dict[str, str]) -> pd.DataFrame:
    notices[where] = "Series as a frame of one column"
    return h5_frame(value.to_frame("values" if value.name is None else value.name), where, notices)


def _moment(value: Any, where: str, notices: dict[str, str]) -> Any:
    if value is pd.NaT or value is pd.NA:
        return None
    notices[where] = f"{type(value).__name__} as text"
    return value.isoformat()


def _span(value: datetime.timedelta, where: str, notices: dict[str, str]) -> str:
    return _moment(pd.Timedelta(value), where, notices)


def _as_text(value: Any, where: str, notices: dict[str, str]) -> str:
    notices[where] = f"{type(value).__name__} as text"
    return _text(str(value), where)


def _bytes(value: bytes, where: str, notices: dict[str, str]) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise _refused(value, where) from None
    notices[where] = "bytes as text"
    return _text(text, where)


def _whole(value: int, where: str, notices: dict[str, str]) -> int:
    if not -(2**63) <= value < 2**64:
        raise SlafError(f"`{where}` is an integer beyond 64 bits, which cannot be stored.")
    return value


def _sparse(value: Any, where: str, notices: dict[str, str]) -> Any:
    if value.format in ("csr", "csc"):
        return value
    notices[where] = f"{value.format} as csr"
    return value.tocsr()


def _datetime64(value: np.generic, where: str, notices: dict[str, str]) -> Any:
    kind = pd.Timestamp if value.dtype.kind == "M" else pd.Timedelta
    return h5_value(kind(value), where, notices)


def _number(value: complex, where: str, notices: dict[str, str]) -> np.ndarray:
    return np.array(value)


def _extension(value: Any, where: str, notices: dict[str, str]) -> Any:
    values = h5_column(pd.Series(value), where, notices).array
    return values.to_numpy() if isinstance(values, NUMPY) else values


#: Types, and the conversion of their values; the first that fits is used.
_FORMS: list[tuple[Any, Any]] = [
    (int, _whole),
    (complex, _number),
    ((list, tuple, Set, range, type({}.values())), _listed),
    (pd.Index, _index),
    (pd.Series, _series),
    ((type(pd.NaT), type(pd.NA), datetime.date, datetime.time), _moment),
    (datetime.timedelta, _span),
    ((np.datetime64, np.timedelta64), _datetime64),
    ((pd.Period, pd.Interval, decimal.Decimal, uuid.UUID, os.PathLike), _as_text),
    (bytes, _bytes),
    (pd.api.extensions.ExtensionArray, _extension),
    ((sparse.spmatrix, sparse.sparray), _sparse),
]
