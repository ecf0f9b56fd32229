"""Builds SQL over `expression` for cells and genes that are given by integer ids.

The engine finds the fastest way on its own. This class is for code that builds its
statements with slafdb's class."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from slaf._slaf import SlafError
from slaf.core.metrics import PerformanceMetrics
from slaf.ground import axes
from slaf.lazy.row_index import RowIndexMapper
from slaf.sql.names import quoted

__all__ = ["PerformanceMetrics", "QueryOptimizer", "RowIndexMapper"]


class QueryOptimizer:
    """Builds statements for sets of cells or genes; `entity_type` is "cell" or "gene"."""

    @staticmethod
    def is_consecutive(ids: list[int]) -> bool:
        """Whether the ids, in any order and with repeats, have no gap."""
        known = sorted(set(ids))
        return not known or known[-1] - known[0] == len(known) - 1

    @staticmethod
    def adaptive_batch_ids(
        integer_ids: list[int], max_batch_size: int = 100, gap_threshold: int = 10
    ) -> list[list[int]]:
        """The ids in sorted batches of at most `max_batch_size`, split where two ids
        differ by more than `gap_threshold`. If they fit into one batch, they stay as
        they are."""
        if len(integer_ids) <= max_batch_size:
            return [list(integer_ids)]
        ids = sorted(set(integer_ids))
        batches = [[ids[0]]]
        for before, one in pairwise(ids):
            if one - before > gap_threshold or len(batches[-1]) >= max_batch_size:
                batches.append([])
            batches[-1].append(one)
        return batches

    @staticmethod
    def build_optimized_query(
        entity_ids: list[int],
        entity_type: str,
        use_adaptive_batching: bool = True,
        max_batch_size: int = 100,
    ) -> str:
        """A statement for all rows of the cells or genes, without repeats."""
        column = _id_column(entity_type)
        ids = list(dict.fromkeys(map(int, entity_ids)))
        if not ids:
            return "SELECT * FROM expression WHERE FALSE"
        batches = [ids]
        if use_adaptive_batching:
            batches = QueryOptimizer.adaptive_batch_ids(ids, max_batch_size)
        return " UNION ALL ".join(
            f"SELECT * FROM expression WHERE {_among(column, batch)}" for batch in batches
        )

    @staticmethod
    def build_submatrix_query(
        cell_selector: Any | None = None,
        gene_selector: Any | None = None,
        cell_count: int | None = None,
        gene_count: int | None = None,
        table_name: str = "expression",
        layer_name: str | None = None,
    ) -> str:
        """A statement for the rows of selected cells and genes.

        Parameters
        ----------
        cell_selector, gene_selector
            None (all), a slice, an int, a list of ints or a mask, as in numpy.
        cell_count, gene_count
            The dataset's shape, needed with a selector.
        table_name, layer_name
            "expression" (columns as stored), or "layers" with a layer, which
            becomes the column `value`.

        Raises
        ------
        SlafError
            A count or the layer's name is missing, or there is no such table.
        IndexError
            A selector is out of range.
        """
        if table_name not in ("expression", "layers"):
            raise SlafError(f"`table_name` is 'expression' or 'layers', not {table_name!r}.")
        if table_name == "layers" and layer_name is None:
            raise SlafError("Name the layer: `layer_name=`.")
        cells = _selected(cell_selector, cell_count, "cell")
        genes = _selected(gene_selector, gene_count, "gene")
        columns = "*"
        if table_name == "layers":
            columns = f"cell_integer_id, gene_integer_id, {quoted(layer_name)} AS value"
        return f"SELECT {columns} FROM {table_name} WHERE {cells} AND {genes}"

    @staticmethod
    def build_cte_query(entity_ids: list[int], entity_type: str) -> str:
        """A statement for all rows of the cells or genes, with a CTE."""
        column = _id_column(entity_type)
        ids = list(map(int, entity_ids))
        where = f"{column} IN ({_listed(ids)})" if ids else "FALSE"
        return (
            f"WITH filtered_expression AS (SELECT * FROM expression WHERE {where}) "
            "SELECT * FROM filtered_expression"
        )

    @staticmethod
    def estimate_query_strategy(
        entity_ids: list[int],
        consecutive_threshold: int = 50,
        batching_threshold: int = 100,
    ) -> str:
        """ "empty", "single" or "consecutive"; otherwise "batched" for more ids than
        `batching_threshold`, "cte" for more than `consecutive_threshold`, and
        "scattered" for few."""
        if len(entity_ids) < 2:
            return "single" if entity_ids else "empty"
        if QueryOptimizer.is_consecutive(entity_ids):
            return "consecutive"
        if len(entity_ids) > batching_threshold:
            return "batched"
        return "cte" if len(entity_ids) > consecutive_threshold else "scattered"


def _id_column(entity_type: str) -> str:
    if entity_type not in ("cell", "gene"):
        raise SlafError(f"`entity_type` is 'cell' or 'gene', not {entity_type!r}.")
    return f"{entity_type}_integer_id"


def _selected(selector: Any, count: int | None, entity: str) -> str:
    """The SQL condition of a selector."""
    if selector is None:
        return "TRUE"
    if count is None:
        raise SlafError(f"{entity}_count must be given with a {entity}_selector.")
    column = _id_column(entity)
    found = axes.positions(selector, count, _no_names, "obs" if entity == "cell" else "var")
    if not len(found):
        return "FALSE"
    if not isinstance(found, range):
        return _among(column, found.tolist())
    if len(found) == 1:
        return f"{column} = {found[0]}"
    found = found if found.step > 0 else found[::-1]
    between = f"{column} >= {found[0]} AND {column} < {found[-1] + 1}"
    return (
        between if found.step == 1 else f"{between} AND ({column} - {found[0]}) % {found.step} = 0"
    )


def _among(column: str, ids: list[int]) -> str:
    if QueryOptimizer.is_consecutive(ids):
        return f"{column} BETWEEN {min(ids)} AND {max(ids)}"
    return f"{column} IN ({_listed(ids)})"


def _listed(ids: list[int]) -> str:
    return ",".join(map(str, np.unique(ids)))


def _no_names() -> Any:
    raise SlafError("A statement selects by position, and ids are only known to the dataset.")
