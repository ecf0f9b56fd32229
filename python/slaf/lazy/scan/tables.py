"""What the names of tables stand for in a handle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slaf import SlafError
from slaf._slaf import nearest
from slaf.lazy.readers import AXES
from slaf.lazy.scan.arrays import pairs, vectors
from slaf.lazy.scan.axes import Axis
from slaf.lazy.scan.rows import Rows
from slaf.lazy.scan.source import Source
from slaf.lazy.scan.values import Values

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyAnnData

#: Other names of tables.
_ALIASES = {"cells": "obs", "genes": "var", "expression": "X"}

#: Columns of an axis that are asked for: True for all.
Names = Sequence[str] | bool


def source_of(handle: LazyAnnData, table: str, obs: Names, var: Names, layer: str | None) -> Source:
    """What reads `table`.

    Raises
    ------
    SlafError
        There is no such table or column, or two columns have one name.
    """
    name = _ALIASES.get(table, table)
    if layer is not None:
        if name not in ("X", "layers"):
            raise SlafError(f"A layer has no table {table!r}. Leave `table` or `layer` out.")
        name = f"layers/{layer}"
    section, _, key = name.partition("/")
    title = f"{table if layer is None else name} of {_place(handle)}"
    matrix = section in ("X", "raw", "layers") and bool(key) == (section == "layers")
    if not matrix and (obs or var):
        raise SlafError(
            f"`obs` and `var` are columns beside values: of 'expression', 'raw' and layers, not of "
            f"{table!r}. Select columns of its own, or join."
        )
    if name in ("obs", "var"):
        axis = _axes(handle)[name == "var"]
        return Rows(title, axis.only(axis.columns))
    if matrix:
        return _values(handle, section, key, title, obs, var)
    if section in ("obsm", "varm") and key:
        _section(handle, section, key)
        return vectors(title, _axes(handle)[AXES[section]], getattr(handle, section), key)
    if section in ("obsp", "varp") and key:
        _section(handle, section, key)
        return pairs(title, _axes(handle)[AXES[section]], getattr(handle, section), key)
    known = _known(handle)
    near = nearest(str(table), known) or known
    raise SlafError(f"There is no table {table!r}. There is {', '.join(map(repr, near))}.")


def _values(
    handle: LazyAnnData, section: str, key: str, title: str, obs: Names, var: Names
) -> Source:
    cells, genes = _axes(handle)
    if section == "layers":
        matrix = _section(handle, "layers", key)._at(*handle._part)
    elif section == "raw":
        raw = handle.raw
        if raw is None:
            raise SlafError("There is no raw here. Its values are in 'expression', or in a layer.")
        matrix, genes = raw._x, _axes(raw)[1]
    else:
        matrix = handle._x
    if matrix is None:
        raise SlafError(f"There is no {'X' if section == 'X' else 'X of raw'} here.")
    return Values(title, matrix, _with(cells, obs), _with(genes, var))


def _with(axis: Axis, names: Names) -> Axis:
    if names is True:
        names = [name for name in axis.columns if name != axis.text_name]
    if not names:
        names = []
    return axis.only(list(dict.fromkeys([axis.id_name, *names])))


def _axes(handle: LazyAnnData) -> tuple[Axis, Axis]:
    return (
        Axis("obs", handle._base("obs"), handle._cells),
        Axis("var", handle._base("var"), handle._genes),
    )


def _section(handle: LazyAnnData, section: str, key: str) -> Any:
    """What a handle holds under a key."""
    held = getattr(handle, section)._held()
    if key not in held:
        near = nearest(key, list(held)) or list(held)[:4]
        hint = f" It has {', '.join(map(repr, near))}." if near else " It is empty."
        raise SlafError(f"{key!r} is not in {section}.{hint}")
    return held[key]


def _known(handle: LazyAnnData) -> list[str]:
    """The names of all tables."""
    found = ["cells", "genes", "expression"]
    found += [] if handle._content.raw is None else ["raw"]
    for section in ("layers", "obsm", "varm", "obsp", "varp"):
        found += [f"{section}/{key}" for key in getattr(handle, section).keys()]
    return found


def _place(handle: LazyAnnData) -> str:
    return "several datasets" if handle.slaf is None else handle.slaf.slaf_path
