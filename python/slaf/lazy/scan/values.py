"""A table with one row per value of a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from slaf._slaf import SlafError
from slaf.ground import axes
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.scan import matrix_blocks
from slaf.lazy.scan.axis_columns import Axis
from slaf.lazy.scan.matrix_blocks import Places
from slaf.lazy.scan.predicate import Split, kept, needed
from slaf.lazy.scan.source import Source

#: The name of the column of values.
VALUE = "value"


class Values(Source):
    """The values of a matrix, row by row, with columns of its cells and genes.

    Conditions on cells alone, and on genes alone, are evaluated before any value is
    read; the others block by block."""

    def __init__(self, title: str, matrix: MatrixPlan, cells: Axis, genes: Axis):
        """`cells` and `genes` have the wanted columns, with their ids first."""
        _check([*cells.columns, *genes.columns])
        self.title, self.matrix, self.cells, self.genes = title, matrix, cells, genes
        known = cells.schema() | genes.schema()
        ids = {axis.id_name: known.pop(axis.id_name) for axis in (cells, genes)}
        value = pl.Series(np.empty(0, matrix.dtype)).dtype
        self.schema: dict[str, Any] = {**ids, VALUE: value, **known}

    def batches(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        plan = self._plan(columns, predicate, n_rows)
        if 0 in plan.matrix.shape or n_rows == 0:
            yield pl.DataFrame(schema={name: self.schema[name] for name in columns})
            return
        cells = _of_part(self.cells, plan.rows, plan.needed)
        genes = _of_part(self.genes, plan.genes, plan.needed)
        left = n_rows
        for places in plan.blocks(n_rows):
            places = places if left is None else places.head(left)
            yield self._frame(places, cells, genes, columns, plan.split.rest)
            left = None if left is None else left - len(places)
            if left == 0:
                return

    def described(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> list[str]:
        plan = self._plan(columns, predicate, n_rows)
        lines = [f"columns: {', '.join(columns)}"]
        filters = {"cells": plan.split.cells, "genes": plan.split.genes, "blocks": plan.split.rest}
        for what, parts in filters.items():
            lines += [f"filter of {what}: {part}" for part in parts]
        for what, at, axis in (("cells", plan.rows, self.cells), ("genes", plan.genes, self.genes)):
            lines.append(f"{what}: {len(at):,} of {axis.length:,}")
        return [
            *lines,
            f"reads: {matrix_blocks.described(plan.matrix, plan.values, plan.by_gene, n_rows)}",
        ]

    def _plan(self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None) -> _Plan:
        split = Split(predicate, self.cells.columns, self.genes.columns)
        if n_rows is not None:
            # Rows are counted before a filter, so they cannot be filtered while reading.
            split.rest = [*split.cells, *split.genes, *split.rest]
            split.cells, split.genes = [], []
        rows, genes = self.cells.matching(split.cells), self.genes.matching(split.genes)
        wanted = list(dict.fromkeys([*columns, *needed(split.rest)]))
        by_gene = any(name in self.genes.columns for name in wanted)
        part = self.matrix.at(rows, genes)
        return _Plan(split, part, rows, genes, wanted, VALUE in wanted, by_gene)

    def _frame(
        self,
        places: Places,
        cells: pl.DataFrame,
        genes: pl.DataFrame,
        columns: list[str],
        parts: list[pl.Expr],
    ) -> pl.DataFrame:
        found: dict[str, pl.Series] = {}
        if parts:
            used = needed(parts) or columns[:1]
            frame = pl.DataFrame(_attached(used, places, cells, genes))
            left = kept(frame, parts)
            if len(left) < len(places):
                places, frame = places.take(left.to_numpy()), frame[left]
            found = {name: frame[name] for name in used}
        others = [name for name in columns if name not in found]
        found |= {series.name: series for series in _attached(others, places, cells, genes)}
        return pl.DataFrame([found[name] for name in columns])


@dataclass
class _Plan:
    """A part of a matrix, and the wanted columns of it."""

    split: Split
    matrix: MatrixPlan
    rows: axes.Positions
    genes: axes.Positions
    needed: list[str]
    #: Whether the values, and their genes, are needed.
    values: bool
    by_gene: bool

    def blocks(self, n_rows: int | None) -> Iterator[Places]:
        return matrix_blocks.blocks(self.matrix, self.values, self.by_gene, n_rows)


def _check(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SlafError(
            f"Both obs and var have the column {twice!r}. Request that of one of them, and join "
            "the other's table, `cells` or `genes`, under another name."
        )
    if VALUE in names:
        raise SlafError(
            f"A column {VALUE!r} of obs or var has the name of the values. Rename it in a handle, "
            "and scan the handle."
        )


def _of_part(axis: Axis, at: axes.Positions, needed: list[str]) -> pl.DataFrame:
    names = [name for name in needed if name in axis.columns]
    return axis.frame(names, at) if names else pl.DataFrame()


def _attached(
    names: list[str], places: Places, cells: pl.DataFrame, genes: pl.DataFrame
) -> list[pl.Series]:
    found = []
    for name in names:
        if name == VALUE:
            found.append(pl.Series(name, places.value))
        elif name in cells.columns:
            found.append(cells[name].gather(places.cell))
        else:
            found.append(genes[name].gather(places.gene))
    return found
