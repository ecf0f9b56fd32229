"""Columns of frames, in the form in which anndata writes them to HDF5."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from slaf._slaf import SlafError
from slaf.ground.metadata.encode import as_texts, refusal

#: Number of values that are tried before all are written.
_TRIED = 64


def h5_column(series: pd.Series, where: str, notices: dict[str, str]) -> pd.Series:
    """`series` in a dtype that anndata can write. If its form changes, `notices` gets
    an entry: name of the column → its new form.

    Raises
    ------
    SlafError
        It cannot be converted.
    """
    try:
        plain = _column(series, where, notices)
    except SlafError:
        raise
    except Exception as error:
        raise refusal(series, where, error) from None
    if not takes(plain.iloc[:_TRIED].array):
        raise refusal(series, where, TypeError("HDF5 has no place for it"))
    return plain


def takes(value: Any) -> bool:
    """Whether the installed anndata can write `value`."""
    import h5py
    from anndata.io import write_elem

    if isinstance(value, NUMPY):
        value = value.to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with h5py.File("tried", "w", driver="core", backing_store=False) as file:
            try:
                write_elem(file, "value", value)
            except Exception:
                return False
    return True


#: pandas' class for a numpy array.
NUMPY = type(pd.Series([1.0]).array)


@functools.cache
def _dates_are_written() -> bool:
    return takes(pd.Series(pd.to_datetime(["2024-01-01"])).array)


def _column(series: pd.Series, where: str, notices: dict[str, str]) -> pd.Series:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _categorical(series, where, notices)
    if isinstance(dtype, pd.ArrowDtype):
        return _column(_from_arrow(series), where, notices)
    if isinstance(dtype, pd.SparseDtype):
        return _column(series.sparse.to_dense(), where, notices)
    if isinstance(dtype, pd.StringDtype):
        return _text(series)
    if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        notices[where] = f"{dtype} as text"
        return _text(as_texts(series))
    if dtype == np.dtype(object):
        return _objects(series, where, notices)
    if dtype.kind in "mM":
        if _dates_are_written() and dtype.kind == "M":
            return series
        notices[where] = f"{dtype} as text"
        return _text(_iso(series))
    if dtype.kind == "f" and not isinstance(dtype, np.dtype):
        values = series.to_numpy(dtype=dtype.numpy_dtype, na_value=np.nan)
        return pd.Series(values, index=series.index)
    return series


def _iso(series: pd.Series) -> pd.Series:
    """Dates and durations as ISO 8601 text."""
    known = series.dropna()
    if series.dtype.kind == "m":
        texts = [v.isoformat() for v in known]
    elif getattr(series.dt, "tz", None) is None and (known == known.dt.normalize()).all():
        texts = [v.strftime("%Y-%m-%d") for v in known]
    else:
        fine = "nanoseconds" if known.dt.nanosecond.any() else "microseconds"
        spec = fine if known.dt.nanosecond.any() or known.dt.microsecond.any() else "seconds"
        texts = [v.isoformat(timespec=spec) for v in known]
    found = pd.Series([None] * len(series), index=series.index, dtype=object)
    found[series.notna().to_numpy()] = texts
    return found


def _text(series: pd.Series) -> pd.Series:
    """Text with missing values can be written only as categories."""
    if series.isna().any():
        codes, texts = pd.factorize(series.to_numpy(object), sort=True)
        categories = pd.Index(texts, dtype=object)
        return pd.Series(pd.Categorical.from_codes(codes, categories), index=series.index)
    return series if series.dtype == object else series.astype(object)


def _objects(series: pd.Series, where: str, notices: dict[str, str]) -> pd.Series:
    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind == "string":
        return _text(series)
    if kind == "empty":
        if len(series) == 0:
            return series
        categories = pd.Index([], dtype=object)
        return pd.Series(pd.Categorical([None] * len(series), categories), index=series.index)
    if kind == "boolean":
        typed = series.where(series.notna(), None).astype("boolean")
        return typed if typed.isna().any() else typed.astype(bool)
    if kind == "integer" and (typed := _integers(series)) is not None:
        return typed
    if kind in ("floating", "mixed-integer-float"):
        return series.where(series.notna(), np.nan).astype(float)
    if kind in ("datetime", "datetime64", "timedelta", "timedelta64", "period", "interval"):
        typed = series.where(series.notna(), pd.NaT).infer_objects()
        if typed.dtype != object:
            return _column(typed, where, notices)
    if kind == "bytes":
        notices[where] = "bytes as text"
        return _text(series.map(bytes.decode, na_action="ignore").astype(object))
    notices[where] = f"{kind} as text"
    return _text(as_texts(series))


def _integers(series: pd.Series) -> pd.Series | None:
    gaps = series.isna()
    for dtype in ("Int64", "UInt64"):
        try:
            typed = series.where(~gaps, 0).astype(dtype.lower())
        except OverflowError:
            continue
        if not gaps.any():
            return typed
        typed = typed.astype(dtype)
        typed[gaps] = pd.NA
        return typed
    return None


def _categorical(series: pd.Series, where: str, notices: dict[str, str]) -> pd.Series:
    before = pd.Series(series.cat.categories)
    changed: dict[str, str] = {}
    after = _column(before, where, changed)
    if after is before:
        return series
    notices.update({key: f"categories: {how}" for key, how in changed.items()})
    # Categories with the same text become one category.
    codes, categories = pd.factorize(after)
    places = np.append(codes, -1)[series.cat.codes.to_numpy()]
    values = pd.Categorical.from_codes(
        places, pd.Index(categories, dtype=after.dtype), ordered=series.cat.ordered
    )
    return pd.Series(values, index=series.index)


def _from_arrow(series: pd.Series) -> pd.Series:
    kind, array = series.dtype.pyarrow_dtype, pa.array(series)
    if pa.types.is_nested(kind):
        raise TypeError("HDF5 has no place for lists in a column")
    if pa.types.is_decimal(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = pd.Series(array.to_pylist(), dtype=object)
    else:
        values = array.to_pandas(types_mapper=_NULLABLE.get if array.null_count else None)
    return values.set_axis(series.index)


_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    **{
        getattr(pa, f"{kind}{bits}")(): getattr(pd, f"{named}{bits}Dtype")()
        for kind, named in (("int", "Int"), ("uint", "UInt"))
        for bits in (8, 16, 32, 64)
    },
}
