"""Finds the table of a handle by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slaf._slaf import SlafError, nearest
from slaf.lazy.readers import AXES
from slaf.lazy.scan.arrays import pairs, vectors
from slaf.lazy.scan.axis_columns import Axis
from slaf.lazy.scan.rows import Rows
from slaf.lazy.scan.source import Source
from slaf.lazy.scan.values import Values
from slaf.lazy.state import HandleState

#: Other names of tables.
_ALIASES = {"cells": "obs", "genes": "var", "expression": "X"}

#: Requested columns of an axis; True for all.
Names = Sequence[str] | bool


def source_of(state: HandleState, table: str, obs: Names, var: Names, layer: str | None) -> Source:
    """The source that reads `table`.

    Raises
    ------
    SlafError
        There is no such table or column, or two columns have one name.
    """
    name = _ALIASES.get(table, table)
    if layer is not None:
        if name not in ("X", "layers"):
            raise SlafError(f"`layer` does not go with the table {table!r}. Leave one of them out.")
        name = f"layers/{layer}"
    section, _, key = name.partition("/")
    title = f"{table if layer is None else name} of {_place(state)}"
    matrix = section in ("X", "raw", "layers") and bool(key) == (section == "layers")
    if not matrix and (obs or var):
        raise SlafError(
            f"`obs` and `var` add columns to 'expression', 'raw' and layers, not to {table!r}. "
            "Select its own columns, or join."
        )
    if name in ("obs", "var"):
        axis = _axes(state)[name == "var"]
        return Rows(title, axis.only(axis.columns))
    if matrix:
        return _values(state, section, key, title, obs, var)
    if section in ("obsm", "varm") and key:
        _section(state, section, key)
        return vectors(title, _axes(state)[AXES[section]], state, section, key)
    if section in ("obsp", "varp") and key:
        _section(state, section, key)
        return pairs(title, _axes(state)[AXES[section]], state, section, key)
    known = _known(state)
    near = nearest(str(table), known) or known
    raise SlafError(f"There is no table {table!r}. There is {', '.join(map(repr, near))}.")


def _values(
    state: HandleState, section: str, key: str, title: str, obs: Names, var: Names
) -> Source:
    cells, genes = _axes(state)
    if section == "layers":
        matrix = _section(state, "layers", key).at(*state.part)
    elif section == "raw":
        raw = state.raw
        if raw is None:
            raise SlafError("There is no raw here. Its values are in 'expression', or in a layer.")
        matrix, genes = raw.x, _axes(raw)[1]
    else:
        matrix = state.x
    if matrix is None:
        raise SlafError(f"There is no {'X' if section == 'X' else 'X of raw'} here.")
    return Values(title, matrix, _with(cells, obs), _with(genes, var))


def _with(axis: Axis, names: Names) -> Axis:
    if names is True:
        names = [name for name in axis.columns if name != axis.text_name]
    if not names:
        names = []
    return axis.only(list(dict.fromkeys([axis.id_name, *names])))


def _axes(state: HandleState) -> tuple[Axis, Axis]:
    return (
        Axis("obs", state.columns("obs"), state.in_dataset(0)),
        Axis("var", state.columns("var"), state.in_dataset(1)),
    )


def _section(state: HandleState, section: str, key: str) -> Any:
    """The value of a handle under a key."""
    held = state.held(section)
    if key not in held:
        near = nearest(key, list(held)) or list(held)[:4]
        hint = f" It has {', '.join(map(repr, near))}." if near else " It is empty."
        raise SlafError(f"{key!r} is not in {section}.{hint}")
    return held[key]


def _known(state: HandleState) -> list[str]:
    """The names of all tables."""
    found = ["cells", "genes", "expression"]
    found += [] if state.content.raw is None else ["raw"]
    for section in ("layers", "obsm", "varm", "obsp", "varp"):
        found += [f"{section}/{key}" for key in state.held(section)]
    return found


def _place(state: HandleState) -> str:
    return "several datasets" if state.dataset is None else state.dataset.path
