"""Which rows of `expression` belong to which cells."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf import SlafError
from slaf.core.long import positions

if TYPE_CHECKING:
    from slaf.array import SLAFArray


class RowIndexMapper:
    """Rows of `expression` by cell: row `i` is the `i`-th of the table.

    A `cell_start_index` that is wrong, as slafdb writes it where obs has a
    column of another count, is counted anew.
    """

    def __init__(self, slaf_array: SLAFArray):
        self.slaf_array = slaf_array

    def get_cell_row_ranges(self, cell_integer_ids: list[int]) -> list[int]:
        """Rows of the cells, in the order that the cells are named in.

        Raises
        ------
        SlafError
            There is no cell with one of the ids.
        """
        ids = np.asarray(cell_integer_ids, dtype=np.int64)
        unknown = (ids < 0) | (ids >= self.slaf_array.shape[0])
        if unknown.any():
            raise SlafError(
                f"Cell integer ID {ids[unknown][0]} not found: they are 0 to "
                f"{self.slaf_array.shape[0] - 1}."
            )
        starts = self._starts[ids]
        lengths = self._starts[ids + 1] - starts
        before = np.cumsum(lengths) - lengths
        return (np.repeat(starts - before, lengths) + np.arange(lengths.sum())).tolist()

    def get_cell_row_ranges_by_selector(self, cell_selector: Any) -> list[int]:
        """Rows of the cells that `cell_selector` selects: None (all), a slice, an
        int, a list, a mask or cell ids.

        Raises
        ------
        IndexError, KeyError
            It selects a cell that is not there.
        """
        selected = positions(self.slaf_array, cell_selector, 0)
        return self.get_cell_row_ranges(np.asarray(selected))

    @cached_property
    def _starts(self) -> np.ndarray:
        """The first row of each cell, and the end of the last."""
        array, dataset = self.slaf_array, self.slaf_array._dataset
        if dataset.defect() is None:
            starts = array._column("cells", "cell_start_index", None).to_numpy()
            return np.append(starts, dataset.nnz).astype(np.int64)
        counted = array.query(
            "SELECT cell_integer_id AS cell, COUNT(*) AS n FROM expression GROUP BY cell_integer_id"
        )
        lengths = np.zeros(array.shape[0], dtype=np.int64)
        lengths[counted["cell"].to_numpy()] = counted["n"].to_numpy()
        return np.append(0, np.cumsum(lengths))
