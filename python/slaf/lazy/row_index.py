"""The rows of `expression` that belong to each cell."""

from __future__ import annotations

from typing import Any

import numpy as np

from slaf._slaf import SlafError
from slaf.dataset import OverDataset, dataset_of
from slaf.lazy.value_rows import positions


class RowIndexMapper:
    """The rows of `expression` for each cell; row `i` is the `i`-th of the table.

    A wrong `cell_start_index`, which slafdb stores if obs has a column with other
    counts, is counted again.
    """

    def __init__(self, slaf_array: OverDataset):
        self.slaf_array = slaf_array
        self._dataset = dataset_of(slaf_array)

    def get_cell_row_ranges(self, cell_integer_ids: list[int]) -> list[int]:
        """Rows of the cells, in the order in which the cells are given.

        Raises
        ------
        SlafError
            There is no cell with one of the ids.
        """
        ids = np.asarray(cell_integer_ids, dtype=np.int64)
        unknown = (ids < 0) | (ids >= self._dataset.shape[0])
        if unknown.any():
            raise SlafError(
                f"Cell integer ID {ids[unknown][0]} not found: they are 0 to "
                f"{self._dataset.shape[0] - 1}."
            )
        starts = self._dataset.row_starts[ids]
        lengths = self._dataset.row_starts[ids + 1] - starts
        before = np.cumsum(lengths) - lengths
        return (np.repeat(starts - before, lengths) + np.arange(lengths.sum())).tolist()

    def get_cell_row_ranges_by_selector(self, cell_selector: Any) -> list[int]:
        """Rows of the cells that `cell_selector` selects: None (all), a slice, an
        int, a list, a mask or cell ids.

        Raises
        ------
        IndexError, KeyError
            It selects a cell that does not exist.
        """
        selected = positions(self._dataset, cell_selector, 0)
        return self.get_cell_row_ranges(np.asarray(selected))
