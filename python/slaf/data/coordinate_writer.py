"""Writes layers, obsp and varp to coordinate tables, one column per matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.data.sources.base import Block, Matrix


def write(
    writer: _slaf.Writer, matrices: dict[str, Matrix], section: str, folder: str, width: int
) -> None:
    """Writes a table. A column is float32 unless one of its values needs a wider type."""
    types = dict.fromkeys(matrices, "float32")
    while (key := _columns(writer, matrices, types, section, folder, width)) is not None:
        types[key] = "float64"


def _columns(
    writer: _slaf.Writer,
    matrices: dict[str, Matrix],
    types: dict[str, str],
    section: str,
    folder: str,
    width: int,
) -> str | None:
    """Writes a coordinate table, or returns which matrix needs a wider type."""
    table = writer.begin_pairs(folder, section, width, list(types.items()))
    for blocks in _side_by_side([x.blocks() for x in matrices.values()]):
        refused = table.append(blocks)
        if refused is not None:
            key = list(matrices)[refused[0]]
            if types[key] == "float64":
                row, column, value = refused[1:]
                raise SlafError(
                    f"`{section}/{key}` holds {value} in row {row}, column {column} (from 0), "
                    "which cannot be stored exactly."
                )
            return key
    writer.end_pairs(table)
    return None


def _side_by_side(matrices: list[Iterator[Block]]) -> Iterator[list[Block]]:
    """Iterates over blocks of the same rows of all matrices, whatever their own blocks
    are."""
    left: list[Any] = [next(blocks, None) for blocks in matrices]
    while all(block is not None for block in left):
        rows = min(len(indptr) - 1 for indptr, _, _ in left)
        yield [_rows(block, 0, rows) for block in left]
        for place, block in enumerate(left):
            height = len(block[0]) - 1
            left[place] = (
                _rows(block, rows, height) if rows < height else next(matrices[place], None)
            )


def _rows(block: Block, start: int, end: int) -> Block:
    indptr, indices, data = block
    if start == 0 and end == len(indptr) - 1:
        return block
    span = slice(indptr[start] - indptr[0], indptr[end] - indptr[0])
    return indptr[start : end + 1], indices[span], data[span]
