"""Converts the inputs of a loader to one form: datasets, cells and genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from slaf.dataset import Dataset, OverDataset, dataset_of
from slaf.ground import axes
from slaf.ground.hints import did_you_mean
from slaf.lazy.state import HandleState, OverState, state_of
from slaf.sql.filters import rows_where


@dataclass
class Part:
    """Cells of a dataset.

    Attributes
    ----------
    state
        The cells and genes that the user gave.
    rows
        The rows of `state` that are read, in the dataset's order.
    cells
        Their integer ids in the dataset, ascending; None for all.
    """

    state: HandleState
    rows: axes.Positions
    cells: np.ndarray | None

    @property
    def dataset(self) -> Dataset:
        return self.state.dataset

    def column(self, name: str) -> pd.Series:
        """A column of obs for the cells that are read.

        Raises
        ------
        ValueError
            There is no such column; the message suggests similar names.
        """
        obs = self.state.frame("obs")
        if name not in obs.columns:
            from slaf._slaf import nearest

            near = nearest(name, [str(c) for c in obs.columns])
            raise ValueError(f"obs has no column `{name}`.{did_you_mean(near)}")
        return axes.take(obs[name], self.rows)


def opened(given: Any) -> Any:
    """`given` with its paths opened: at the version that each has now."""
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        return Dataset.open(given)
    if isinstance(given, Sequence):
        return [opened(one) for one in given]
    return given


def parts_of(given: Any, cells: Any) -> list[Part]:
    """One or several datasets, handles or paths, with a selection of their cells.

    Raises
    ------
    TypeError
        Something else was given.
    ValueError
        A handle joins several datasets or repeats a cell, or no cell is left.
    """
    several = isinstance(given, Sequence) and not isinstance(given, str)
    many = list(given) if several else [given]
    if not many:
        raise ValueError("No dataset was given.")
    if not several or cells is None or isinstance(cells, str):
        selections = [cells] * len(many)
    else:
        selections = list(cells)
        if len(selections) != len(many):
            raise ValueError(f"cells has {len(selections)} selections for {len(many)} datasets.")
    found = [_part(one, chosen) for one, chosen in zip(many, selections, strict=True)]
    if not any(len(part.rows) for part in found):
        raise ValueError("No cell is left to load.")
    return found


def _part(given: Any, cells: Any) -> Part:
    state = _state(given)
    n_obs = state.shape[0]
    rows: axes.Positions = range(n_obs)
    if isinstance(cells, str):
        rows = _where(state, cells)
    elif cells is not None:
        rows = axes.positions(cells, n_obs, lambda: state.names(0), "obs")
    numbers = axes.compose(state.in_dataset(0), rows)
    if axes.is_all(numbers, state.dataset.shape[0]):
        return Part(state, rows, None)
    numbers = np.asarray(numbers, dtype=np.int64)
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    if (numbers[1:] == numbers[:-1]).any():
        raise ValueError("A cell is selected twice. To see some cells more often, give weights.")
    return Part(state, np.asarray(rows, dtype=np.int64)[order], numbers)


def _state(given: Any) -> HandleState:
    if isinstance(given, (Dataset, OverDataset)):
        return HandleState.of_dataset(dataset_of(given))
    if isinstance(given, OverState):
        if state_of(given).dataset is None:
            raise ValueError(
                "A handle over several datasets cannot be loaded; give the datasets as a list."
            )
        return state_of(given)
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        return HandleState.of_dataset(Dataset.open(given))
    raise TypeError(f"A loader reads datasets, handles and paths, not {type(given).__name__}.")


def _where(state: HandleState, condition: str) -> np.ndarray:
    """The rows for which a SQL condition on the cells table is true."""
    chosen = np.zeros(state.dataset.shape[0], dtype=bool)
    chosen[rows_where(state.dataset, "cells", condition)] = True
    return np.flatnonzero(chosen[np.asarray(state.in_dataset(0), dtype=np.int64)])


def joined(parts: list[Part], name: str) -> tuple[np.ndarray, list[Any] | None]:
    """A column of obs over all parts: numbers unchanged, everything else as int64 codes
    (-1: missing) with their categories."""
    columns = [part.column(name) for part in parts]
    if all(pd.api.types.is_numeric_dtype(c.dtype) for c in columns):
        values = np.concatenate([_numbers(c) for c in columns])
        kind = values.dtype.kind
        wide = {"b": bool, "f": np.float32}.get(kind, np.int64)
        return values.astype(wide), None
    columns = [
        c if isinstance(c.dtype, pd.CategoricalDtype) else c.astype("category") for c in columns
    ]
    categories = list(dict.fromkeys(x for c in columns for x in c.cat.categories))
    place = {category: at for at, category in enumerate(categories)}
    codes = []
    for column in columns:
        new = np.array([*(place[x] for x in column.cat.categories), -1], dtype=np.int64)
        codes.append(new[column.cat.codes.to_numpy()])
    return np.concatenate(codes), categories


def _numbers(column: pd.Series) -> np.ndarray:
    if column.hasnans:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy(dtype=bool if pd.api.types.is_bool_dtype(column.dtype) else None)


def columns_of(parts: list[Part]) -> tuple[pd.Index, list[np.ndarray | None]]:
    """The genes of all parts, by name, and for each part the column of each of its
    dataset's genes (-1: none); None if they are the same."""
    names = [part.state.names(1) for part in parts]
    union = names[0]
    for more in names[1:]:
        if not more.equals(union):
            union = union.append(more[~more.isin(union)])
    columns = []
    for part, own in zip(parts, names, strict=True):
        if not own.is_unique and not own.equals(union):
            raise ValueError("Genes are joined by their names, and one occurs twice.")
        n = part.dataset.shape[1]
        genes = part.state.in_dataset(1)
        if own.equals(union) and axes.is_all(genes, n):
            columns.append(None)
            continue
        placed = np.arange(len(own)) if own.equals(union) else union.get_indexer(own)
        found = np.full(n, -1, dtype=np.int32)
        found[np.asarray(genes, dtype=np.int64)] = placed
        columns.append(found)
    return union, columns
