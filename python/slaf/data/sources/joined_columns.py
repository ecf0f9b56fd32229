"""Joins columns of the same name from several inputs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from slaf.ground.metadata import TEXT

#: Kinds of values, by pandas' names for them.
_KINDS = {
    "string": "text",
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "boolean": "true and false",
    "datetime64": "dates",
    "datetime": "dates",
}

#: Above this, a float64 cannot hold every integer.
_EXACT = 2**53


def alike(frames: list[pd.DataFrame], names: list[str], section: str) -> list[pd.DataFrame]:
    """The frames with one type of values per column name. If the types differ, all
    become text, with a warning. Integers stay exact, and columns without values are
    ignored."""
    changed: dict[str, list[pd.Series | None]] = {}
    problems = []
    for column in dict.fromkeys(name for frame in frames for name in frame.columns):
        parts = [frame[column] if column in frame else None for frame in frames]
        kinds = {}
        for name, part in zip(names, parts, strict=True):
            if part is not None and (kind := kind_of(part)) is not None:
                kinds.setdefault(kind, name)
        if len(kinds) > 1:
            changed[column] = _as_text(parts)
            held = " and ".join(f"{kind} in `{name}`" for kind, name in kinds.items())
            problems.append(f"`{section}/{column}` holds {held}")
        elif (exact := _exact(parts)) == "text":
            changed[column] = _as_text(parts)
            problems.append(
                f"`{section}/{column}` holds integers that fit no common type with the other values"
            )
        elif kinds:
            changed[column] = _of_one_type(parts, exact)
    if problems:
        warnings.warn(
            f"{'; '.join(problems)}. All of it is stored as text.", UserWarning, stacklevel=2
        )
    if not changed:
        return frames
    frames = [frame.copy(deep=False) for frame in frames]
    for column, parts in changed.items():
        for frame, part in zip(frames, parts, strict=True):
            if part is not None:
                frame[column] = part
    return frames


def kind_of(column: pd.Series) -> str | None:
    """The type of the values; None if there are none."""
    if column.isna().all():
        return None
    if isinstance(column.dtype, pd.CategoricalDtype):
        return kind_of(pd.Series(column.cat.categories))
    kind = pd.api.types.infer_dtype(column, skipna=True)
    zone = getattr(column.dtype, "tz", None)
    return _KINDS.get(kind, kind) + ("" if zone is None else f" of {zone}")


def _as_text(columns: list[pd.Series | None]) -> list[pd.Series | None]:
    found = [column for column in columns if column is not None]
    categories = all(isinstance(column.dtype, pd.CategoricalDtype) for column in found)

    def texts(column: pd.Series | None) -> pd.Series | None:
        if column is None:
            return None
        values = zip(column.astype(object), column.isna(), strict=True)
        plain = [np.nan if gap else _text(value) for value, gap in values]
        return pd.Series(plain, column.index, "category" if categories else TEXT)

    return [texts(column) for column in columns]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _exact(columns: list[pd.Series | None]) -> str | None:
    """A dtype that keeps large integers exact. They would become floats if there are
    also missing values, floats, or integers of another signedness. None if it is not
    needed."""
    if any(column is None for column in columns) or len({c.dtype for c in columns}) > 1:
        found = [column.dropna() for column in columns if column is not None]
        found = [column for column in found if len(column)]
        whole = [column for column in found if pd.api.types.is_integer_dtype(column.dtype)]
        ends = [int(end) for column in whole for end in (column.min(), column.max())]
        if any(abs(end) > _EXACT for end in ends):
            if len(whole) == len(found) and max(ends) < 2**63:
                return "Int64"
            return "UInt64" if len(whole) == len(found) and min(ends) >= 0 else "text"
    return None


def _of_one_type(columns: list[pd.Series | None], exact: str | None) -> list[pd.Series | None]:
    """Converts all columns to `exact`, if given; columns without values get the dtype
    of the others."""
    first = next(c.dtype for c in columns if c is not None and c.notna().any())
    kind = first.kind if isinstance(first, np.dtype) else None
    gaps = exact or {"b": "boolean", "i": "float64", "u": "float64"}.get(kind, first)

    def typed(column: pd.Series | None) -> pd.Series | None:
        if column is None:
            return None
        if not len(column):
            return pd.Series([], column.index, exact or first)
        if column.isna().all():
            return pd.Series(None, column.index, gaps)
        return column if exact is None else column.astype(exact)

    return [typed(column) for column in columns]


def below(columns: list[pd.Series | None], lengths: list[int]) -> pd.Series:
    """Joins columns along the rows, with missing values where there is no column;
    categories are united."""
    from pandas.api.types import union_categoricals

    there = [(c, n) for c, n in zip(columns, lengths, strict=True) if c is not None]
    found = [column for column, n in there if n] or [column for column, _ in there[:1]]
    kinds = {str(getattr(c.dtype, "categories", pd.Index([])).dtype) for c in found}
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in found) and len(kinds) == 1:
        merged = pd.Series(found[0].array)
        if any(column.dtype != found[0].dtype for column in found):
            merged = pd.Series(union_categoricals(found, ignore_order=True))
        elif len(found) > 1:
            merged = pd.concat(found, ignore_index=True)
    else:
        merged = pd.concat(found, ignore_index=True)
    has = np.repeat([column is not None for column in columns], lengths)
    if has.all():
        return merged
    if merged.dtype == bool:
        merged = merged.astype("boolean")
    return merged.set_axis(np.flatnonzero(has)).reindex(range(len(has)))
