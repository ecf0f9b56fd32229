"""Groups cells or genes by columns of obs or var."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


class Grouping:
    """Groups the rows of a frame by one or several of its columns.

    Parameters
    ----------
    frame
        obs or var.
    by
        The columns.
    among
        A mask of the rows to group; None: all rows.

    Attributes
    ----------
    labels
        One row per group that is not empty, in the order of the categories: the columns
        as categoricals, and their values joined by "_" as the index.
    of_row
        The number of each row's group, int32; -1 for rows that have a missing value or are
        not in `among`.
    sizes
        The number of rows of each group, int64.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        `by` is empty, or two groups get the same name.
    """

    def __init__(
        self, frame: pd.DataFrame, by: str | Sequence[str], among: np.ndarray | None = None
    ):
        by = [by] if isinstance(by, str) else list(by)
        if not by:
            raise ValueError("`by` names no column to group by.")
        given = {name: pd.Categorical(frame[name]) for name in by}
        inside = np.all([column.codes >= 0 for column in given.values()], axis=0)
        if among is not None:
            inside &= among
        columns = [column[inside].remove_unused_categories() for column in given.values()]
        shape = tuple(max(1, len(column.categories)) for column in columns)
        codes = np.ravel_multi_index([column.codes.astype(np.int64) for column in columns], shape)
        found, numbers = np.unique(codes, return_inverse=True)
        self.of_row = np.full(len(frame), -1, dtype=np.int32)
        self.of_row[inside] = numbers
        self.sizes = np.bincount(numbers, minlength=len(found))
        places = np.unravel_index(found, shape)
        values = {
            name: pd.Categorical.from_codes(place, column.categories)
            for name, place, column in zip(given, places, columns, strict=True)
        }
        names = ["_".join(map(str, kind)) for kind in zip(*values.values(), strict=True)]
        self.labels = pd.DataFrame(values, index=pd.Index(names, dtype=object))
        if not self.labels.index.is_unique:
            twice = self.labels.index[self.labels.index.duplicated()][0]
            raise ValueError(f"Two groups are called {twice!r}: rename a category.")

    def __len__(self) -> int:
        return len(self.labels)
