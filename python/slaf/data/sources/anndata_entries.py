"""The entries of an AnnData in a file, by name: which can be left out, and which cannot be
read."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Any

from slaf._slaf import SlafError
from slaf.data.sources.anndata_encodings import (
    column_order,
    encoding_of,
    is_dict,
    is_frame,
    is_group,
    left_out,
    place_of,
)

_SECTIONS = ("obsm", "varm", "layers", "obsp", "varp")

#: (name, node); the node is None if the name points to nothing.
Entry = tuple[str, Any]


def entries(root: Any, prefix: str = "") -> Iterator[Entry]:
    """All entries of the AnnData in the group `root` that can be left out."""
    if "X" in root:
        yield f"{prefix}X", root.get("X")
    for axis in ("obs", "var"):
        if is_frame(root.get(axis)):
            yield from _inside(root[axis], prefix + axis)
    for section in (*_SECTIONS, "uns"):
        if section in root:
            yield prefix + section, root.get(section)
            yield from _inside(root.get(section), prefix + section)
    if "raw" in root:
        yield f"{prefix}raw", root.get("raw")
        if is_group(root.get("raw")):
            yield from entries(root["raw"], f"{prefix}raw/")


def _inside(node: Any, name: str) -> Iterator[Entry]:
    if is_frame(node):
        names = column_order(node)
    else:
        names = list(node.keys()) if is_dict(node) else []
    for key in names:
        yield f"{name}/{key}", node.get(key)
        yield from _inside(node.get(key), f"{name}/{key}")


def check(root: Any, skip: Collection[str]) -> None:
    """Raises an error for what cannot be read of the AnnData in the group `root`."""
    found = [(name, node) for name, node in entries(root) if not left_out(name, skip)]
    wrong = [name for name, node in found if not readable(name, node)]
    # An entry inside a bad group is not reported separately.
    wrong = [name for name in wrong if not any(name.startswith(f"{other}/") for other in wrong)]
    if wrong:
        raise unknown(root, wrong)
    for axis in ("obs", "var", "raw/var"):
        if axis in root and not _known(root[axis]):
            raise unknown(root, [axis], needed=True)


def unknown(root: Any, names: list[str], *, needed: bool = False) -> SlafError:
    """The error for entries that cannot be read."""
    problems = []
    for name in names:
        problems.append(f"`{name}` is {_what(name, root.get(name))}")
    listed = ", ".join(f'"{name}"' for name in names)
    advice = "It is needed: write the file again with an anndata that knows it"
    if not needed:
        options = " ".join(f"--skip {name}" for name in names)
        advice = f"To convert the rest, leave it out (`skip=[{listed}]`, `{options}`)"
    return SlafError(
        f"`{place_of(root)}`: {' and '.join(problems)}, which cannot be read or stored. {advice}."
    )


def _what(name: str, node: Any) -> str:
    if node is None:
        return "missing, though the file names it"
    kind, version = encoding_of(node)
    if kind == "null":
        return "empty (null)"
    if _is_other_group(name, node):
        return f"a group, not {_wanted(name)}"
    return f"encoded as `{kind or type(node).__name__}` {version}".rstrip()


def readable(name: str, node: Any) -> bool:
    """Whether the entry `name` can be read and stored."""
    if node is None:
        return False
    if encoding_of(node)[0] == "null":
        # X, raw or a section is empty, or a value of uns is None.
        return "/" not in name or name == "raw/X" or name.startswith(("uns/", "raw/uns/"))
    return not _is_other_group(name, node) and _known(node)


def _wanted(name: str) -> str | None:
    """The type that an entry must have; None if it can be a group of entries."""
    section, *keys = name.removeprefix("raw/").split("/")
    if section == "X" or (keys and section in ("layers", "obsp", "varp")):
        return "a matrix"
    if len(keys) == 1 and section in ("obsm", "varm"):
        return "a matrix or a frame"
    return "a column" if len(keys) == 1 and section in ("obs", "var") else None


def _is_other_group(name: str, node: Any) -> bool:
    """Whether there is a group of entries where a single entry is expected."""
    wanted = _wanted(name)
    if wanted == "a column":
        return is_frame(node) or is_dict(node)
    # Other writers do not record the encoding of a matrix.
    return wanted is not None and is_dict(node) and not (wanted == "a matrix" and "data" in node)


def _known(node: Any) -> bool:
    """Whether the installed anndata can read it, and we can store it."""
    from anndata.experimental import read_dispatched

    kind, _ = encoding_of(node)
    if kind == "awkward-array":
        return False
    try:
        read_dispatched(node, _look)
    except Exception:  # anndata's class for it is private
        return False
    return True


def _look(read: Any, name: str, node: Any, *, iospec: Any) -> None:
    """Reads nothing: anndata only looks up how it would read the entry."""


def check_skip(skip: Collection[str], names: list[list[str]]) -> None:
    """Raises an error for names in `skip` that no input has. `names` are the entries of
    each input."""
    known = list(dict.fromkeys(name for one in names for name in one))
    for name in skip:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 3, 0.5) or known[:8]
        listed = ", ".join(f"`{one}`" for one in near)
        raise SlafError(
            f"There is no `{name}` that could be skipped. "
            + (
                f"What can be is {listed}."
                if known
                else "Only h5ad, h5mu and zarr inputs have any."
            )
        )
