"""Values of a dataset as long tables: one row per stored value, with the ids of its cell
and gene."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from slaf._slaf import SlafError, nearest
from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.hints import did_you_mean
from slaf.lazy.sources import Source, StoredPairs, StoredX

_IDS = {"cells": "cell_id", "genes": "gene_id"}


def values_of(source: Source, dataset: Dataset, cells: Any, genes: Any) -> pl.DataFrame:
    """A table of `cell_id`, `gene_id` and `value` for positions on both axes, sorted by
    cell."""
    indptr, indices, data = source.csr(cells, genes)
    rows = np.repeat(np.arange(len(cells)), np.diff(indptr))
    return pl.DataFrame(
        {
            "cell_id": _ids(dataset, "cells", cells).gather(rows),
            "gene_id": _ids(dataset, "genes", genes).gather(indices),
            "value": data,
        }
    )


def matrix_of(dataset: Dataset, table_name: str, layer_name: str | None) -> Source:
    """X, or the layer `layer_name` if `table_name` is "layers".

    Raises
    ------
    SlafError
        There is no such table or layer.
    """
    if table_name == "expression":
        return StoredX(dataset)
    if table_name != "layers":
        raise SlafError(f"`table_name` is 'expression' or 'layers', not {table_name!r}.")
    if layer_name is None:
        raise SlafError("Name the layer: `layer_name=`.")
    known = dataset.keys("layers")
    if layer_name not in known:
        near = did_you_mean(nearest(layer_name, known))
        raise SlafError(f"There is no layer `{layer_name}`.{near}")
    return StoredPairs(dataset, "layers", layer_name)


def positions(dataset: Dataset, selector: Any, axis: int) -> axes.Positions:
    """The positions of a selector of cells (0) or genes (1); None selects all."""
    length = dataset.shape[axis]
    if selector is None:
        return range(length)
    if axis == 0:
        return axes.positions(selector, length, lambda: dataset.obs_names, "obs")
    return axes.positions(selector, length, lambda: dataset.var_names, "var")


def each_once(selected: axes.Positions) -> axes.Positions:
    """The positions sorted, without repeats."""
    if isinstance(selected, range):
        return selected if selected.step > 0 else selected[::-1]
    return np.unique(selected)


def _ids(dataset: Dataset, table: str, rows: axes.Positions) -> pl.Series:
    return pl.Series(dataset.column(table, _IDS[table], rows), dtype=pl.String)
