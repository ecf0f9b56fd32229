"""What an AnnData in a file consists of, by name: what can be left out, and
what nobody can read."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Any

from slaf import SlafError
from slaf.data.sources.elements import (
    column_order,
    encoding_of,
    is_dict,
    is_frame,
    is_group,
    left_out,
    place_of,
)

_SECTIONS = ("obsm", "varm", "layers", "obsp", "varp")

#: (name, node)
Entry = tuple[str, Any]


def entries(root: Any, prefix: str = "") -> Iterator[Entry]:
    """All that can be left out of the AnnData in the group `root`."""
    if "X" in root:
        yield f"{prefix}X", root["X"]
    for axis in ("obs", "var"):
        if axis in root and is_frame(root[axis]):
            yield from _inside(root[axis], prefix + axis)
    for section in (*_SECTIONS, "uns"):
        if section in root:
            yield prefix + section, root[section]
            yield from _inside(root[section], prefix + section)
    if "raw" in root:
        yield f"{prefix}raw", root["raw"]
        if is_group(root["raw"]):
            yield from entries(root["raw"], f"{prefix}raw/")


def _inside(node: Any, name: str) -> Iterator[Entry]:
    if is_frame(node):
        names = column_order(node)
    else:
        names = list(node.keys()) if is_dict(node) else []
    for key in names:
        if key in node:
            yield f"{name}/{key}", node[key]
            yield from _inside(node[key], f"{name}/{key}")


def check(root: Any, skip: Collection[str]) -> None:
    """Raises what cannot be read of the AnnData in the group `root`."""
    found = [(name, node) for name, node in entries(root) if not left_out(name, skip)]
    wrong = [name for name, node in found if not readable(name, node)]
    # What is around an entry is told by it.
    wrong = [name for name in wrong if not any(name.startswith(f"{other}/") for other in wrong)]
    if wrong:
        raise unknown(root, wrong)
    for axis in ("obs", "var", "raw/var"):
        if axis in root and not _known(root[axis]):
            raise unknown(root, [axis], needed=True)


def unknown(root: Any, names: list[str], *, needed: bool = False) -> SlafError:
    """Of entries that nobody can read."""
    told = []
    for name in names:
        kind, version = encoding_of(root[name])
        what = f"encoded as `{kind or type(root[name]).__name__}` {version}".rstrip()
        what = "empty (null)" if kind == "null" else what
        told.append(f"`{name}` is {what}")
    listed = ", ".join(f'"{name}"' for name in names)
    advice = "It is needed: write the file again with an anndata that knows it"
    if not needed:
        options = " ".join(f"--skip {name}" for name in names)
        advice = f"To convert the rest, leave it out (`skip=[{listed}]`, `{options}`)"
    return SlafError(
        f"`{place_of(root)}`: {' and '.join(told)}, which cannot be read or stored. {advice}."
    )


def readable(name: str, node: Any) -> bool:
    """Whether the entry `name` can be read and stored."""
    if encoding_of(node)[0] == "null":
        # Nothing is in X, in raw or in a section, or a value of uns is None.
        return "/" not in name or name == "raw/X" or name.startswith(("uns/", "raw/uns/"))
    return _known(node)


def _known(node: Any) -> bool:
    """Whether the installed anndata reads it, and it can be stored."""
    from anndata.experimental import read_dispatched

    kind, _ = encoding_of(node)
    if kind == "awkward-array":
        return False
    try:
        read_dispatched(node, _look)
    except Exception:  # anndata's own class of it is private
        return False
    return True


def _look(read: Any, name: str, node: Any, *, iospec: Any) -> None:
    """Reads nothing: anndata has found out how it would."""


def check_skip(skip: Collection[str], names: list[list[str]]) -> None:
    """Raises what is to be left out of the inputs, and is in none of them.
    `names` are those of each input."""
    known = list(dict.fromkeys(name for one in names for name in one))
    for name in skip:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 3, 0.5) or known[:8]
        listed = ", ".join(f"`{one}`" for one in near)
        raise SlafError(
            f"There is no `{name}` that could be skipped. "
            + (f"What can be is {listed}." if known else "Only h5ad, h5mu and zarr inputs have any.")
        )


