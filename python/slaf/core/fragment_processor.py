"""Computations on the values of a dataset, as Polars plans that read it in parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from slaf._slaf import SlafError
from slaf.core.sparse_ops import sums
from slaf.dataset import OverDataset, dataset_of
from slaf.ground import axes
from slaf.lazy.value_rows import each_once, matrix_of, positions

#: Approximate number of values per part.
_PART_VALUES = 4 << 20

#: The options of each operation, with their defaults.
_OPTIONS: dict[str, dict[str, Any]] = {
    "compute_matrix": {},
    "log1p": {},
    "normalize_total": {"target_sum": 1e4},
    "sum": {"axis": None},
    "mean": {"axis": None},
}


class FragmentProcessor:
    """Polars plans over the selected cells and genes, without repeats and in the
    dataset's order. Nothing is read until a plan is collected; then one part of the
    cells is read after the other.

    Operations are

    - `"compute_matrix"`: `cell_integer_id`, `gene_integer_id` and `value`, the
      stored values;
    - `"log1p"`: the same, of ln(1 + value) in float64;
    - `"normalize_total"` (`target_sum=1e4`): the same, of the values scaled so
      that each cell's sum over all genes, selected or not, is `target_sum`;
    - `"sum"` (`axis=None`): `partial_sum` (float64) of all values, with `axis=0`
      of each gene and with `axis=1` of each cell that has any, after its id;
    - `"mean"` (`axis=None`): the same with `partial_count`, the stored values.
      Zeros are not counted; divide by the number of cells or genes.

    Parameters
    ----------
    slaf_array
        The dataset.
    cell_selector, gene_selector
        None (all), a slice, an int, a list, a mask or ids.
    max_workers
        Number of parts that :meth:`build_lazy_pipeline_parallel` reads at the same
        time.
    enable_caching
        Whether to keep the plan of an operation.
    table_name, layer_name
        "expression", or "layers" with the layer.

    Raises
    ------
    SlafError
        There is no such table or layer.
    IndexError, KeyError
        A selector is out of range, or an id does not exist.
    """

    def __init__(
        self,
        slaf_array: OverDataset,
        cell_selector: Any | None = None,
        gene_selector: Any | None = None,
        max_workers: int = 4,
        enable_caching: bool = True,
        table_name: str = "expression",
        layer_name: str | None = None,
    ):
        self.slaf_array = slaf_array
        self.cell_selector, self.gene_selector = cell_selector, gene_selector
        self.max_workers, self.enable_caching = max_workers, enable_caching
        self.table_name, self.layer_name = table_name, layer_name
        self._dataset = dataset = dataset_of(slaf_array)
        self._source = matrix_of(dataset, table_name, layer_name)
        self._genes = each_once(positions(dataset, gene_selector, 1))
        #: The positions of the cells in each part.
        self.fragments = _parts(self._source, each_once(positions(dataset, cell_selector, 0)))
        self.n_fragments = len(self.fragments)
        self._cache: dict[tuple, pl.LazyFrame] = {}

    def clear_cache(self) -> None:
        """Removes the plans that were kept."""
        self._cache.clear()

    def build_lazy_pipeline(self, operation: str, **kwargs: Any) -> pl.LazyFrame:
        """The plan of an operation that reads one part at a time.

        Raises
        ------
        SlafError
            There is no such operation, or it has no such option.
        """
        return self._plan(operation, kwargs, 1)

    def build_lazy_pipeline_parallel(self, operation: str, **kwargs: Any) -> pl.LazyFrame:
        """The same plan, reading `max_workers` parts at the same time, which needs that
        much more memory."""
        return self._plan(operation, kwargs, self.max_workers)

    def build_lazy_pipeline_smart(self, operation: str, **kwargs: Any) -> pl.LazyFrame:
        """The same plan, in parallel if there are several parts."""
        return self._plan(operation, kwargs, min(self.max_workers, self.n_fragments))

    def compute(self, lazy_pipeline: pl.LazyFrame) -> pl.DataFrame:
        """The rows of a plan."""
        return lazy_pipeline.collect()

    def _plan(self, operation: str, options: dict[str, Any], workers: int) -> pl.LazyFrame:
        options = _checked(operation, options)
        key = (operation, *options.items(), workers)
        if key in self._cache:
            return self._cache[key]
        plan = self._built(operation, options, workers)
        if self.enable_caching:
            self._cache[key] = plan
        return plan

    def _built(self, operation: str, options: dict[str, Any], workers: int) -> pl.LazyFrame:
        if operation in ("sum", "mean"):
            work = partial(self._partial_sums, axis=options["axis"], count=operation == "mean")
        else:
            work = partial(self._values, operation=operation, **options)
        plan = _scan(work, self.fragments, work(range(0)).schema, workers)
        axis = options.get("axis", 1)
        if axis is None:
            return plan.sum()
        if axis == 0:
            return plan.group_by("gene_integer_id").sum().sort("gene_integer_id")
        return plan

    def _block(self, cells: axes.Positions, genes: axes.Positions) -> sparse.csr_matrix:
        indptr, indices, data = self._source.csr(cells, genes)
        return sparse.csr_matrix((data, indices, indptr), shape=(len(cells), len(genes)))

    def _values(
        self, cells: axes.Positions, operation: str, target_sum: float | None = None
    ) -> pl.DataFrame:
        if operation == "normalize_total":
            whole = self._block(cells, range(self._source.shape[1]))
            total = sums(whole, 1)
            block = whole[:, np.asarray(self._genes, dtype=np.int64)].tocoo()
            # A cell that has only zeros keeps them.
            values = block.data * (target_sum / np.where(total == 0, 1, total))[block.row]
        else:
            block = self._block(cells, self._genes).tocoo()
            values = block.data
            if operation == "log1p":
                values = np.log1p(values, dtype=np.float64)
        return pl.DataFrame(
            [
                self._id("cell_integer_id", cells, block.row),
                self._id("gene_integer_id", self._genes, block.col),
                pl.Series("value", values),
            ]
        )

    def _partial_sums(self, cells: axes.Positions, axis: int | None, count: bool) -> pl.DataFrame:
        block = self._block(cells, self._genes)
        if axis is None:
            columns = [pl.Series("partial_sum", [sums(block, 0).sum()])]
            stored = np.array([block.nnz])
        else:
            stored = np.asarray(block.getnnz(axis=axis))
            kept = np.flatnonzero(stored)
            name = ("gene_integer_id", "cell_integer_id")[axis]
            columns = [
                self._id(name, cells if axis else self._genes, kept),
                pl.Series("partial_sum", sums(block, axis)[kept]),
            ]
            stored = stored[kept]
        if count:
            columns.append(pl.Series("partial_count", stored.astype(np.int64)))
        return pl.DataFrame(columns)

    def _id(self, name: str, of: axes.Positions, places: np.ndarray) -> pl.Series:
        """The ids in the type that the table uses."""
        kind = getattr(pl, self._dataset.columns[self.table_name][name])
        return pl.Series(name, np.asarray(of, dtype=np.int64)[places]).cast(kind)


def _checked(operation: str, options: dict[str, Any]) -> dict[str, Any]:
    if operation not in _OPTIONS:
        raise SlafError(f"Unknown operation: {operation}. There are {', '.join(_OPTIONS)}.")
    known = _OPTIONS[operation]
    for name in options:
        if name not in known:
            raise SlafError(f"`{operation}` has no option `{name}`.")
    options = {**known, **options}
    if options.get("axis") not in (None, 0, 1):
        raise SlafError(f"A matrix has the axes 0 and 1, and not {options['axis']!r}.")
    return options


def _parts(source: Any, cells: axes.Positions) -> list[axes.Positions]:
    height, width = source.shape
    a_row = width / 8 if source.nnz is None else source.nnz / max(1, height)
    step = max(1, int(_PART_VALUES / max(8, a_row)))
    return [cells[start : start + step] for start in range(0, len(cells), step)]


def _scan(
    work: Callable[[axes.Positions], pl.DataFrame],
    parts: list[axes.Positions],
    schema: pl.Schema,
    workers: int,
) -> pl.LazyFrame:
    """The frames that `work` makes of the parts, joined along the rows."""
    from polars.io.plugins import register_io_source

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        for frame in _in_order(work, parts, workers):
            if rows is not None:
                frame = frame.head(rows)
                rows -= frame.height
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame if columns is None else frame.select(columns)
            if rows == 0:
                return

    return register_io_source(source, schema=schema)


def _in_order(work: Callable, parts: list[Any], workers: int) -> Iterator[Any]:
    """The results of `work` in order; `workers` of them are computed at the same time."""
    if workers < 2:
        yield from map(work, parts)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="slaf-part")
    try:
        coming: deque = deque()
        for part in parts:
            coming.append(pool.submit(work, part))
            if len(coming) >= workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
