"""Groups of cells or genes, by columns of obs or var."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


class Grouping:
    """Rows of a frame by one or several of its columns.

    Parameters
    ----------
    frame
        obs or var.
    by
        Which columns.
    among
        A mask of the rows that are grouped; None: all.

    Attributes
    ----------
    labels
        A row a group that has rows: the columns as categoricals, and as index their
        values joined by "_". In the order of the categories.
    of_row
        The number of each row's group, int32; -1 of rows that lack a value or are not
        `among`.
    sizes
        Rows of each group, int64.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        `by` is empty, or two groups have one name.
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
