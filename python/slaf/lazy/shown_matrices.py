"""X and layers in displays; reads nothing."""

from __future__ import annotations

from typing import Any

from slaf.ground import axes, cards
from slaf.ground.sizes import share, size
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.sources import Held, StoredPairs


def matrix_html(matrix: MatrixPlan) -> str:
    """The display of a lazy matrix."""
    rows, columns = matrix.shape
    cost = matrix_cost(matrix)
    dataset = matrix.dataset
    names = {
        axis: ", ".join(matrix.first_names(at, 6)) for at, axis in enumerate(("rows", "columns"))
    }
    html, _ = cards.drawn(
        "Lazy matrix",
        f"{rows:,} × {columns:,} {matrix.dtype}{matrix_stored(matrix)}",
        place="" if dataset is None else dataset.path,
        facts={
            "pending": pending(matrix),
            "to read": None if cost is None else f"{size(cost)} stored",
            **{axis: f"{first}, …" if first else None for axis, first in names.items()},
        },
        hint="Nothing is read yet: .compute() reads it, and slices of it are lazy, too.",
    )
    return html


def matrix_entry(name: str, matrix: MatrixPlan, settled: bool) -> dict[str, Any]:
    """X or a layer as an entry of a handle's display."""
    note = " × ".join(f"{n:,}" for n in matrix.shape) + matrix_stored(matrix)
    if steps := pending(matrix):
        note += f" · pending {steps}"
    if isinstance(matrix.source, Held):
        state = "in memory" if settled else "set here"
        return cards.entry(name, str(matrix.dtype), note, state=state)
    cost = matrix_cost(matrix)
    return cards.entry(name, str(matrix.dtype), note, cost="" if cost is None else size(cost))


def matrix_stored(matrix: MatrixPlan) -> str:
    """The number of stored values, if it is known: ` · 12 stored (3 %)`."""
    nnz = matrix.stored
    source = matrix.source
    if nnz is None and matrix.is_whole and isinstance(source, StoredPairs):
        nnz = source.dataset.stored_pairs(source.section, source.key)
    return stored(nnz, matrix.shape[0] * matrix.shape[1])


def pending(matrix: MatrixPlan) -> str:
    """The steps that are applied when values are read: `normalize_total → log1p`."""
    return " → ".join(dict.fromkeys(step.of or step.name for step in matrix.steps))


def matrix_cost(matrix: MatrixPlan) -> int | None:
    """About how many stored bytes are read for the matrix, estimated from its share of the
    rows. None if it is not known."""
    dataset, source = matrix.dataset, matrix.source
    if dataset is None:
        return None
    if isinstance(source, StoredPairs):
        whole = dataset.pair_bytes(source.section, source.key)
    else:
        whole = dataset.engine.table_bytes("expression")
    rows = matrix.in_source(0)
    if whole is None or axes.is_all(rows, source.shape[0]):
        return whole
    return round(whole * len(rows) / max(1, source.shape[0]))


def stored(nnz: int | None, of: int) -> str:
    """`nnz` of `of` values, if it is known: ` · 12 stored (3 %)`."""
    return "" if nnz is None else f" · {nnz:,} stored ({share(nnz, of)})"
