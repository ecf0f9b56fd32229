"""Means and fractions of groups of cells, summed without a table of cells × genes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from slaf.lazy.handle import LazyHandle
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.pl.plot_data import Genes, check_groups, check_names, flat, genes_named, obs_of
from slaf.pl.with_scanpy import Given, scanpy
from slaf.pp.handles import takes_raw

#: Size of the matrix cells × genes that is read at a time: 1 million cells with 64
#: genes, a tenth of them stored.
_AT_ONCE = 64 << 20


@dataclass
class Grouped:
    """The data of a dot plot."""

    #: One row per group that has cells; X contains the means.
    means: AnnData
    #: The same rows and columns: the fraction of cells above the cutoff.
    shares: pd.DataFrame
    #: The group of each cell; missing for cells without one.
    of_cells: pd.CategoricalIndex


def grouped(handle: LazyHandle, given: Given) -> Grouped:
    """Means and fractions of the genes and columns of obs in `given["var_names"]`, by
    `given["groupby"]`. The other parameters are those of scanpy's `pl.DotPlot`. Sums
    are float64.

    Raises
    ------
    KeyError
        There is no such column, gene or layer, or a name is both a column and a gene.
    ValueError
        Several genes have a name, no name is given, or no cell is in a group.
    """
    names, groupby = list(dict.fromkeys(genes_named(given))), flat(given["groupby"])
    check_groups(handle, groupby)
    layer, symbols = given.get("layer"), given.get("gene_symbols")
    genes = Genes(handle, takes_raw(handle, given.get("use_raw"), layer), symbols, alone=True)
    obs = grouping_columns(obs_of(handle, [*groupby, *names]), groupby)
    check_names(names, obs, genes)
    if both := genes.found(names) & set(obs.columns):
        raise KeyError(f"{both.pop()!r} is a column of obs and a gene: rename the column.")
    of_cells = groups_of(obs, groupby, given.get("num_categories", 7))
    check_order(given, of_cells.categories)
    sums = _Sums(of_cells, len(names), given.get("log", False), given.get("expression_cutoff", 0))
    for at, name in enumerate(names):
        if name in obs.columns:
            sums.add(sparse.csr_matrix(obs[[name]].to_numpy(float)), np.array([at]))
    for block, columns in _genes(genes, layer, names):
        sums.add(block, columns)
    found = sums.means(only_expressed=given.get("mean_only_expressed", False))
    means = AnnData(
        X=found,
        obs=_first_cells(obs, groupby, of_cells),
        var=pd.DataFrame(index=pd.Index(names, dtype=object)),
        uns=dict(handle.uns),
    )
    shares = pd.DataFrame(sums.shares(), index=of_cells.categories, columns=names)
    return Grouped(means, shares, of_cells)


def check_order(given: Given, categories: pd.Index) -> None:
    """Raises
    ------
    ValueError
        `categories_order` does not name each group.
    """
    order = given.get("categories_order")
    if order is None or set(order) == set(categories):
        return
    other = sorted(map(str, set(order) ^ set(categories)))
    raise ValueError(
        f"`categories_order` names each group with cells, and no other: {', '.join(other[:5])}. "
        "`handle[handle.obs[...].isin(groups)]` has cells of some groups."
    )


def grouping_columns(obs: pd.DataFrame, groupby: list[str]) -> pd.DataFrame:
    """obs with its grouping columns in the form that scanpy uses for grouping.

    Raises
    ------
    TypeError
        There are several columns, and one is not text.
    """
    columns = {}
    for name in groupby:
        if name not in obs.columns:
            continue
        column = obs[name]
        if pd.api.types.is_bool_dtype(column.dtype):
            column = column.astype(str).where(column.notna())
        if not pd.api.types.is_numeric_dtype(column.dtype):
            column = column.astype("category")
        text = getattr(getattr(column, "cat", None), "categories", pd.Index([0]))
        if len(groupby) > 1 and not pd.api.types.is_string_dtype(text.dtype):
            raise TypeError(
                f"Grouping by several columns joins texts, but {name!r} is {column.dtype}. "
                f"`handle.obs[{name!r}].astype(str)` is text."
            )
        columns[name] = column
    return obs.assign(**columns)


def groups_of(obs: pd.DataFrame, groupby: list[str], num_categories: int) -> pd.CategoricalIndex:
    """The group of each cell, with scanpy's names and order; groups without cells are
    left out."""
    keys = [obs.index if name == obs.index.name else obs[name] for name in groupby]
    kind = obs.groupby(keys, observed=True, sort=False).ngroup().fillna(-1).to_numpy(np.int64)
    first = np.unique(kind, return_index=True)[1][int((kind < 0).any()) :]
    # For scanpy's grouping, one cell of each kind is enough.
    example = AnnData(obs=obs.iloc[first])
    categories = scanpy.pl.MatrixPlot(
        example, [], groupby, num_categories=num_categories, values_df=pd.DataFrame()
    ).obs_tidy.index
    codes = np.append(categories.codes, -1)[kind]
    groups = pd.Categorical.from_codes(codes, categories.categories)
    return pd.CategoricalIndex(groups.remove_unused_categories(), name=categories.name)


def _first_cells(
    obs: pd.DataFrame, groupby: list[str], of_cells: pd.CategoricalIndex
) -> pd.DataFrame:
    """One cell of each group, for the columns of obs in the result."""
    if len(groupby) > 1 or groupby[0] not in obs.columns:
        codes, first = np.unique(of_cells.codes, return_index=True)
        return obs[[name for name in groupby if name in obs.columns]].iloc[first[codes >= 0]]
    n = len(of_cells.categories)
    column = pd.Categorical.from_codes(np.arange(n), of_cells.categories)
    return pd.DataFrame({groupby[0]: column}, index=[str(at) for at in range(n)])


def _genes(
    genes: Genes, layer: str | None, names: list[str]
) -> Iterator[tuple[sparse.csr_matrix, np.ndarray]]:
    """Iterates over matrices of cells × some genes, and which of `names` these are."""
    positions = genes.positions(names)
    if not len(positions):
        return
    var = genes.var(positions, names)
    shown = var.index if genes.symbols is None else pd.Index(var[genes.symbols.name])
    columns = pd.Index(names).get_indexer(shown)
    matrix: LazyExpressionMatrix = genes.matrix(layer)
    step = max(1, _AT_ONCE // max(1, matrix.shape[0]))
    for start in range(0, len(positions), step):
        part = slice(start, start + step)
        yield sparse.csr_matrix(matrix[:, positions[part]].compute()), columns[part]


class _Sums:
    """For groups × names: the sums of the values, and how many are above the cutoff."""

    def __init__(self, of_cells: pd.CategoricalIndex, width: int, log: bool, cutoff: float):
        self.codes = of_cells.codes.astype(np.int64)
        self.shape = len(of_cells.categories), width
        self.log, self.cutoff = log, cutoff
        self.cells = np.bincount(self.codes[self.codes >= 0], minlength=self.shape[0])[:, None]
        #: Sums of all values, and of those above the cutoff.
        self.total, self.above_total = np.zeros(self.shape), np.zeros(self.shape)
        self.above, self.missing = (np.zeros(self.shape, dtype=np.int64) for _ in range(2))

    def add(self, block: sparse.csr_matrix, columns: np.ndarray) -> None:
        """Adds the values of all cells for some of the names; each name is added once."""
        n, width = self.shape[0], block.shape[1]
        groups = np.repeat(self.codes, np.diff(block.indptr))
        inside = groups >= 0
        values: Any = block.data[inside]
        if self.log:
            values = np.log1p(values)
        keys = groups[inside] * width + block.indices[inside]
        missing, above = np.isnan(values), values > self.cutoff
        count = lambda which, of=None: np.bincount(  # noqa: E731
            keys[which], weights=of, minlength=n * width
        ).reshape(n, width)
        self.total[:, columns] = count(~missing, values[~missing])
        self.above_total[:, columns] = count(above, values[above])
        self.above[:, columns] = count(above)
        self.missing[:, columns] = count(missing)
        if self.cutoff < 0:
            self.above[:, columns] += self.cells - count(slice(None))

    def means(self, *, only_expressed: bool) -> np.ndarray:
        """Means as in scanpy: of the values that are not missing, or that are above the
        cutoff."""
        with np.errstate(invalid="ignore", divide="ignore"):
            if only_expressed:
                return np.nan_to_num(self.above_total / self.above, nan=0.0)
            return self.total / (self.cells - self.missing)

    def shares(self) -> np.ndarray:
        return self.above / self.cells
