"""Columns of obs and var as entries of a display; reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from slaf.ground import cards
from slaf.ground.cards import categories, entry
from slaf.ground.sizes import size
from slaf.lazy.columns import Known

#: Columns in memory with more rows are not summarised in a display.
_LOOKED_AT = 20_000_000


def column_entry(
    name: str, known: Known, cost: int | None, colours: Sequence[str] | None
) -> dict[str, Any]:
    """The entry of a column. `cost` is the number of bytes that reading it takes;
    `colours` are the colours of its categories, in their order."""
    dtype = f"{known.dtype} ordered" if _is_ordered(known.series) else known.dtype
    return entry(name, dtype, **_content(known, colours), **_state(known, cost))


def _state(known: Known, cost: int | None) -> dict[str, str]:
    if known.held and known.otherwise is None:
        return {"state": "set here"}
    if known.changed:
        return {"state": "changed here"}
    if known.series is not None:
        return {"state": "in memory"}
    return {} if cost is None else {"cost": size(cost)}


def _content(known: Known, colours: Sequence[str] | None) -> dict[str, Any]:
    series = known.series
    if series is None:
        if known.categories is None:
            return {} if known.ends is None else {"note": cards.ends(*known.ends)}
        return categories(known.categories, known.counts, colours)
    if isinstance(series.dtype, pd.CategoricalDtype):
        names, counts = [str(c) for c in series.cat.categories], None
        if len(series) <= _LOOKED_AT:
            codes = series.cat.codes.to_numpy()
            counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
        return categories(names, counts, _palette(known, names, colours))
    return {"note": _numbers(series)}


def _palette(known: Known, names: list[str], colours: Sequence[str] | None) -> Sequence[str] | None:
    """The colours of `names`. If a part has lost categories, the colours in uns are still
    those of the whole."""
    before = [known.categories, known.otherwise and known.otherwise.categories]
    for whole in before:
        if colours is not None and whole and len(names) < len(whole) == len(colours):
            by_name = dict(zip(whole, colours, strict=True))
            return [by_name.get(name, "") for name in names]
    return colours


def _numbers(series: pd.Series) -> str:
    """The range of numbers in memory, and how many are missing."""
    if len(series) > _LOOKED_AT or series.dtype.kind not in "biuf":
        return ""
    missing = int(series.isna().sum())
    there = series.dropna() if missing else series
    if series.dtype.kind == "b":
        gaps = f", {missing:,} missing" if missing else ""
        return f"{int(there.sum()):,} true{gaps}"
    low, high = (there.min(), there.max()) if len(there) else (None, None)
    return cards.ends(low, high, missing)


def _is_ordered(series: pd.Series | None) -> bool:
    return series is not None and bool(getattr(series.dtype, "ordered", False))
