"""The parts of a filter that can be evaluated before values are read. They stay Polars
expressions, so Polars defines their meaning."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl


class Split:
    """The parts of a filter, which must all be true: those on columns of cells alone,
    those on columns of genes alone, and the rest."""

    def __init__(
        self, predicate: pl.Expr | None, cells: Collection[str], genes: Collection[str]
    ) -> None:
        self.cells: list[pl.Expr] = []
        self.genes: list[pl.Expr] = []
        self.rest: list[pl.Expr] = []
        for part in [] if predicate is None else conjuncts(predicate):
            names = set(part.meta.root_names())
            if names and names <= set(cells):
                self.cells.append(part)
            elif names and names <= set(genes):
                self.genes.append(part)
            else:
                self.rest.append(part)


def conjuncts(predicate: pl.Expr) -> list[pl.Expr]:
    """The parts of `a & b & …`, in order; any other expression is its own only part."""
    found, todo = [], [predicate]
    while todo:
        part = todo.pop()
        sides = _sides(part)
        if sides is None:
            found.append(part)
        else:
            todo += sides[::-1]
    return found


def needed(parts: list[pl.Expr]) -> list[str]:
    """The columns that they use, without repeats."""
    return list(dict.fromkeys(name for part in parts for name in part.meta.root_names()))


def kept(frame: pl.DataFrame, parts: list[pl.Expr]) -> pl.Series | None:
    """The numbers of the rows for which all parts are true; None for all rows."""
    if not parts:
        return None
    number = "row"
    while number in frame.columns:
        number += "_"
    # A part can be a single value for all rows, which `filter` repeats.
    return frame.with_row_index(number).filter(pl.all_horizontal(*parts))[number]


def _sides(part: pl.Expr) -> list[pl.Expr] | None:
    """The two sides of an AND. Polars has no way to ask whether an expression is an
    AND, so it is compared with both sides joined by AND."""
    try:
        sides = part.meta.pop()[::-1]
    except Exception:
        return None
    if len(sides) != 2 or not (sides[0] & sides[1]).meta.eq(part):
        return None
    return sides
