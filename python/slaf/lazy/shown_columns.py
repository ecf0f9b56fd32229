"""Columns of obs and var as entries of a display; nothing is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from slaf.ground.cards import categories, entry
from slaf.ground.sizes import size
from slaf.lazy.columns import Known

#: Rows in memory that are looked at for a display.
_LOOKED_AT = 20_000_000


def column_entry(
    name: str, known: Known, cost: int | None, colours: Sequence[str] | None
) -> dict[str, Any]:
    """`cost` is what it takes to read it, in bytes; `colours` are those of the
    categories, in their order."""
    dtype = f"{known.dtype} ordered" if _is_ordered(known.series) else known.dtype
    return entry(name, dtype, **_content(known, colours), state=_state(known, cost))


def _state(known: Known, cost: int | None) -> str:
    if known.held and known.otherwise is None:
        return "set here"
    if known.changed:
        return "changed here"
    if known.series is not None:
        return "in memory"
    return "" if cost is None else size(cost)


def _content(known: Known, colours: Sequence[str] | None) -> dict[str, Any]:
    series = known.series
    if series is None:
        if known.categories is None:
            return {}
        return categories(known.categories, known.counts, colours)
    if isinstance(series.dtype, pd.CategoricalDtype):
        names, counts = [str(c) for c in series.cat.categories], None
        if len(series) <= _LOOKED_AT:
            codes = series.cat.codes.to_numpy()
            counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
        # Of a part that has lost categories, the palette is that of the whole.
        if colours is not None and known.categories and len(colours) == len(known.categories):
            by_name = dict(zip(known.categories, colours, strict=True))
            colours = [by_name.get(name, "") for name in names]
        return categories(names, counts, colours)
    return {"note": _numbers(series)}


def _numbers(series: pd.Series) -> str:
    """The ends of numbers in memory, and how many are missing."""
    if len(series) > _LOOKED_AT or series.dtype.kind not in "biuf":
        return ""
    missing = int(series.isna().sum())
    gaps = [f"{missing:,} missing"] if missing else []
    there = series.dropna() if missing else series
    if series.dtype.kind == "b":
        return ", ".join([f"{int(there.sum()):,} true", *gaps])
    ends = [f"{there.min():g} … {there.max():g}"] if len(there) else []
    return ", ".join(ends + gaps)


def _is_ordered(series: pd.Series | None) -> bool:
    return series is not None and bool(getattr(series.dtype, "ordered", False))
