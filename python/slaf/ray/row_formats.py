"""The forms of a handle's cells as rows of Ray Data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
from scipy import sparse

from slaf._slaf import SlafError
from slaf.handle import LazyAnnData
from slaf.lazy.plan import plan_of
from slaf.lazy.state import state_of
from slaf.lazy.stream import rows_of_a_block
from slaf.ml import SLAFDataLoader

#: Columns of some rows: a table, or arrays with any number of dimensions.
Rows: TypeAlias = "pa.Table | dict[str, np.ndarray]"
#: Reads some cells and returns their rows.
Reader = Callable[[slice], Rows]

#: About how many bytes of tokens a task has.
_TOKEN_BYTES = 64 << 20


@dataclass(frozen=True)
class Long:
    """One row per stored value."""

    table: str
    layer: str | None
    obs: list[str]
    var: list[str]
    cells_per_task: int
    a_row_a_cell = False

    def check(self, handle: LazyAnnData) -> None:
        self._rows(handle)

    def _rows(self, handle: LazyAnnData) -> pl.LazyFrame:
        return handle.lazy(self.table, obs=self.obs, var=self.var, layer=self.layer)

    def reader(self, handle: LazyAnnData) -> Reader:
        return lambda cells: _plain(self._rows(handle[cells]).collect().to_arrow())


@dataclass(frozen=True)
class Cells:
    """One row per cell, with the lists of its genes and values."""

    layer: str | None
    obs: list[str]
    cells_per_task: int
    a_row_a_cell = True

    def check(self, handle: LazyAnnData) -> None:
        handle.lazy("X", obs=self.obs, layer=self.layer)

    def reader(self, handle: LazyAnnData) -> Reader:
        def read(cells: slice) -> pa.Table:
            part = handle[cells]
            table = part.to_arrow(self.layer)
            for at in (1, 2):
                name, column = table.column_names[at], table.column(at)
                # Always large lists, so that all tasks have the same type.
                wide = column.cast(pa.large_list(column.type.value_type))
                table = table.set_column(at, name, wide)
            beside = _plain(_beside(part, self.obs).collect().to_arrow())
            for name in self.obs:
                table = table.append_column(name, beside.column(name))
            return table

        return read


@dataclass(frozen=True)
class Tokens:
    """One row per cell, with its tokens."""

    obs: list[str]
    options: dict[str, Any]
    cells_per_task: int = field(init=False)
    a_row_a_cell = True

    def __post_init__(self) -> None:
        width = self.options.get("max_genes", 2048)
        object.__setattr__(self, "cells_per_task", max(1, _TOKEN_BYTES // (9 * width)))

    def check(self, handle: LazyAnnData) -> None:
        handle.lazy("X", obs=self.obs)
        if state_of(handle).dataset is None:
            raise SlafError(
                "A handle over several datasets has no tokens of its own. Read those of each, and "
                "join: `a.union(b)`."
            )
        kind = self.options.get("tokenizer_type", "geneformer")
        if kind not in ("geneformer", "scgpt"):
            raise ValueError(f'tokenizer_type is "geneformer" or "scgpt", not {kind!r}.')

    def reader(self, handle: LazyAnnData) -> Reader:
        options = {"verbose": False, "tensors": False, **self.options}
        tokenizer = SLAFDataLoader(handle, **options).tokenizer
        state = state_of(handle)

        def read(cells: slice) -> dict[str, np.ndarray]:
            part = state[cells]
            numbers = part.in_dataset(0)
            # All genes of the dataset, also those that the handle does not show, as in
            # loaders.
            indptr, indices, data = state.dataset.csr(numbers, range(state.dataset.shape[1]))
            x = sparse.csr_matrix((data, indices, indptr), (len(numbers), state.dataset.shape[1]))
            found = tokenizer.encode(x, np.asarray(numbers, dtype=np.int64))
            beside = _plain(_beside(handle[cells], self.obs).collect().to_arrow())
            columns = {name: beside.column(name).to_numpy() for name in self.obs}
            return {"cell_id": np.asarray(part.names(0), dtype=object), **found, **columns}

        return read


def form_of(
    name: str,
    handle: LazyAnnData,
    table: str,
    layer: str | None,
    obs: list[str],
    var: list[str],
    tokens: dict[str, Any],
) -> Long | Cells | Tokens:
    """The form with this name; see :func:`slaf.ray.read_slaf`."""
    if name not in ("long", "csr", "tokens"):
        raise ValueError(f'form is "long", "csr" or "tokens", not {name!r}.')
    if name == "tokens":
        return Tokens(obs, tokens)
    if tokens:
        raise TypeError(f'`{min(tokens)}` is of the form "tokens", not of {name!r}.')
    matrix = handle.X if layer is None else handle.layers[layer]
    cells = 4096 if matrix is None else rows_of_a_block(plan_of(matrix))
    if name == "csr":
        return Cells(layer, obs, cells)
    if table not in ("X", "expression", "raw") and not table.startswith("layers/"):
        raise ValueError(
            f"Long rows are of 'X', 'raw' or 'layers/NAME', not of {table!r}. Other tables fit one "
            "machine: `slaf.scan`."
        )
    return Long(table, layer, obs, var, cells)


def _beside(handle: LazyAnnData, obs: list[str]) -> pl.LazyFrame:
    """Columns of obs."""
    return handle.lazy("obs").select(obs)


def _plain(table: pa.Table) -> pa.Table:
    """The table without dictionaries, which would differ from task to task."""
    for at, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            wide = column.cast(column.type.value_type)
            table = table.set_column(at, table.column_names[at], wide)
    return table


def to_csr(batch: Any, n_genes: int) -> sparse.csr_matrix:
    """A batch of the form "csr", in any of Ray's batch formats, as a scipy matrix with
    `n_genes` columns."""
    genes, values = (_lists(batch[name]) for name in ("gene_integer_id", "value"))
    lengths = genes.value_lengths().to_numpy(zero_copy_only=False)
    indices, data = (lists.flatten().to_numpy(zero_copy_only=False) for lists in (genes, values))
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return sparse.csr_matrix((data, indices, indptr), (len(lengths), n_genes))


def _lists(column: Any) -> pa.LargeListArray:
    """A column of lists, given as an Arrow array, as a pandas column of Arrow lists, or as
    an array of arrays."""
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks()
    found = pa.array(column)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
