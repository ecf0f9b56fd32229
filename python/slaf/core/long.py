"""Values of a dataset as long tables: a row a stored value, with the ids of its
cell and its gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from slaf import SlafError, _axis
from slaf._slaf import nearest

if TYPE_CHECKING:
    from slaf.array import SLAFArray
    from slaf.lazy.sources import Source

_IDS = {"cells": "cell_id", "genes": "gene_id"}


def values(source: Source, array: SLAFArray, cells: Any, genes: Any) -> pl.DataFrame:
    """`cell_id`, `gene_id` and `value` of positions on both axes, cell by cell."""
    indptr, indices, data = source.csr(cells, genes)
    rows = np.repeat(np.arange(len(cells)), np.diff(indptr))
    return pl.DataFrame(
        {
            "cell_id": _ids(array, "cells", cells).gather(rows),
            "gene_id": _ids(array, "genes", genes).gather(indices),
            "value": data,
        }
    )


def source_of(array: SLAFArray, table_name: str, layer_name: str | None) -> Source:
    """X, or the layer `layer_name` if `table_name` is "layers".

    Raises
    ------
    SlafError
        There is no such table or layer.
    """
    # scipy takes a quarter of a second, and SQL needs none of it.
    from slaf.lazy.sources import Layer, Stored

    if table_name == "expression":
        return Stored(array)
    if table_name != "layers":
        raise SlafError(f"`table_name` is 'expression' or 'layers', not {table_name!r}.")
    if layer_name is None:
        raise SlafError("Which layer? Name it: `layer_name=`.")
    known = array._keys("layers")
    if layer_name not in known:
        near = nearest(layer_name, known)
        hint = f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
        raise SlafError(f"There is no layer `{layer_name}`.{hint}")
    return Layer(array, layer_name)


def positions(array: SLAFArray, selector: Any, axis: int) -> _axis.Positions:
    """What a selector of cells (0) or genes (1) selects; None selects all."""
    length = array.shape[axis]
    if selector is None:
        return range(length)
    if axis == 0:
        return _axis.positions(selector, length, lambda: array._obs_names, "obs")
    return _axis.positions(selector, length, lambda: array._var_names, "var")


def each_once(selected: _axis.Positions) -> _axis.Positions:
    """The same positions in ascending order."""
    if isinstance(selected, range):
        return selected if selected.step > 0 else selected[::-1]
    return np.unique(selected)


def _ids(array: SLAFArray, table: str, rows: _axis.Positions) -> pl.Series:
    return pl.Series(array._column(table, _IDS[table], rows), dtype=pl.String)
