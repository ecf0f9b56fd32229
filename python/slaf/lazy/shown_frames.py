"""The display of obs and var: a table of the first and last rows of the first columns,
which are read for it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from slaf import _slaf
from slaf.ground import axes, cards, metadata
from slaf.lazy.columns import Columns, Known

#: Rows from the beginning and from the end, and columns, including the index.
_FIRST, _LAST, _COLUMNS = 15, 5, 24


def frame_html(columns: Columns, index_column: str) -> str:
    rows = _rows(len(columns))
    names = list(columns.names[: _COLUMNS - 1])
    index = columns.index(rows)
    ids = pa.array([str(name) for name in index], pa.string())
    arrays, heads = {str(index.name or index_column): ids}, [("index", "")]
    for name in names:
        known = columns.known(name)
        arrays[_free(str(name), arrays)] = _shown(columns.read(name, rows))
        heads.append((known.dtype, _summary(known)))
    whole = len(columns), len(columns.names) + 1, heads
    return _slaf.draw_table(pa.table(arrays), "", whole=whole)[0]


def _rows(height: int) -> axes.Positions:
    if height <= _FIRST + _LAST:
        return range(height)
    return axes.compose(range(height), [*range(_FIRST), *range(height - _LAST, height)])


def _free(name: str, taken: dict[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _shown(series: pd.Series) -> pa.Array:
    """Values as Arrow has them, or their types as text if Arrow cannot hold them."""
    try:
        return metadata.encode_column(series, notices={})[0]
    except _slaf.SlafError:
        return pa.array([f"<{type(value).__name__}>" for value in series], pa.string())


def _summary(known: Known) -> str:
    if known.categories is not None:
        return f"{len(known.categories):,} categories"
    return "" if known.ends is None else cards.ends(*known.ends)
