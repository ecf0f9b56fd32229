"""slafdb's module of the same name: turns tables with one row per value into tables with
one row per cell. Our tokenizers do not use it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import Any

import polars as pl

from slaf.ml.table_schema import DataSchema


class WindowType(str, Enum):
    SCGPT = "scgpt"
    #: slafdb's spelling.
    SCPGPT = "scgpt"
    GENEFORMER = "geneformer"
    SIMPLE = "simple"


class Window(ABC):
    """Decides which values of a group are kept, and computes lists from them."""

    @abstractmethod
    def apply(
        self, fragment_df: pl.DataFrame, schema: DataSchema, max_items: int, **kwargs: Any
    ) -> pl.DataFrame:
        """One row per group, with lists of its items.

        Parameters
        ----------
        fragment_df, schema
            Rows of values, and the names of their columns.
        max_items
            Keeps the values of a group down to the `max_items`-th greatest; equal
            values count once.
        """


class SimpleWindow(Window):
    """Lists of items, and of their values."""

    def apply(
        self, fragment_df: pl.DataFrame, schema: DataSchema, max_items: int, **kwargs: Any
    ) -> pl.DataFrame:
        return _grouped(_greatest(fragment_df, schema, max_items), schema, pl.col(schema.value_key))


class ScGPTWindow(Window):
    """Lists of items, and of the bins of their values: `n_expression_bins` (10) bins of
    equal width, from 0 to the logarithm of the group's greatest value plus one. With
    `use_binned_expressions=False`, values stay as they are."""

    def apply(
        self, fragment_df: pl.DataFrame, schema: DataSchema, max_items: int, **kwargs: Any
    ) -> pl.DataFrame:
        kept, value = _greatest(fragment_df, schema, max_items), pl.col(schema.value_key)
        if kwargs.get("use_binned_expressions", True):
            bins, log = kwargs.get("n_expression_bins", 10), value.log1p()
            part = (log * bins / log.max().over(schema.group_key)).floor().clip(0, bins - 1)
            value = pl.when(log > 0).then(part).otherwise(0)
            kept = kept.with_columns(value.alias(schema.value_key))
            value = pl.col(schema.value_key)
        return _grouped(kept, schema, value)


class GeneformerWindow(Window):
    """Lists of items. `min_percentile` leaves out values with a lower rank among the
    distinct values of their group."""

    def apply(
        self, fragment_df: pl.DataFrame, schema: DataSchema, max_items: int, **kwargs: Any
    ) -> pl.DataFrame:
        low = kwargs.get("min_percentile")
        if low is not None:
            rank = pl.col(schema.value_key).rank("dense").over(schema.group_key)
            enough = rank >= low * rank.max().over(schema.group_key) / 100
            fragment_df = fragment_df.with_columns(enough.alias("_enough"))
        kept = _greatest(fragment_df, schema, max_items)
        return _grouped(kept if low is None else kept.filter("_enough"), schema, None)


def _greatest(frame: pl.DataFrame, schema: DataSchema, n: int) -> pl.DataFrame:
    rank = pl.col(schema.value_key).rank("dense", descending=True).over(schema.group_key)
    return frame.filter(rank <= n)


def _grouped(frame: pl.DataFrame, schema: DataSchema, value: pl.Expr | None) -> pl.DataFrame:
    lists = [pl.col(schema.item_key).alias(schema.item_list_key)]
    if value is not None:
        lists.append(value.alias(schema.value_list_key or "expr_sequence"))
    return frame.group_by(schema.group_key, maintain_order=True).agg(lists)


def create_window(window_type: WindowType | str) -> Window:
    """The window with this name: "scgpt", "geneformer" or "simple".

    Raises
    ------
    ValueError
        There is no such window.
    """
    made: dict[str, Callable[[], Window]] = {
        "scgpt": ScGPTWindow,
        "geneformer": GeneformerWindow,
        "simple": SimpleWindow,
    }
    name = str(getattr(window_type, "value", window_type)).lower()
    if name not in made:
        raise ValueError(f"A window is {', '.join(map(repr, made))}, not {window_type!r}.")
    return made[name]()
