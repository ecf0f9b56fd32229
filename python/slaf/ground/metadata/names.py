"""The names of columns in tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slaf._slaf import SlafError

#: Columns that the format uses itself.
RESERVED = {
    "cell_id",
    "cell_integer_id",
    "cell_start_index",
    "gene_id",
    "gene_integer_id",
}

#: Columns that every Lance table has.
_LANCE = {
    "_rowid",
    "_rowaddr",
    "_rowoffset",
    "_row_created_at_version",
    "_row_last_updated_at_version",
}

#: The coordinate table of each section of matrices, and the prefix of its first
#: columns.
PAIRS = {
    "layers": "layers.lance",
    "obsp": "cellsxcells.lance",
    "varp": "genesxgenes.lance",
}
_COORDINATES = ("cell_integer_id", "gene_integer_id")

#: Characters that Lance and SQL allow in no name.
_REFUSED = str.maketrans({".": "_", "`": "_", "\0": "_"})


def fitting(name: str) -> str:
    """`name` in a form that a table allows: with `_` for dots, backticks and zero
    bytes."""
    name = name.translate(_REFUSED)
    if name in ("", "*"):
        return "_"
    return name + "_" if name in _LANCE else name


def free_name(name: str, taken: Iterable[str]) -> str:
    """A name similar to `name` that is not in `taken` and not used by the format."""
    taken = RESERVED | set(taken)
    free = fitting(name)
    while free in taken:
        free += "_"
    return free


def fits_pairs(key: str) -> bool:
    """Whether a matrix of this name can be a column of a coordinate table."""
    return fitting(key) == key and key not in RESERVED and not key.startswith(_COORDINATES)


def stored_names(
    keys: Iterable[str], columns: Iterable[str], taken: Iterable[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """The stored names of the `keys` of obsm and the `columns` of obs, in one table
    that already has the columns `taken`. Names that a table allows are kept, keys
    before columns. The other names are chosen afterwards, so the result does not depend
    on the order."""
    used, found = set(taken), ({}, {})
    for exact in (True, False):
        for names, stored in zip((keys, columns), found, strict=True):
            for name in names:
                as_is = fitting(name) == name and name not in RESERVED | used
                if name in stored or (exact and not as_is):
                    continue
                stored[name] = name if exact else free_name(name, used)
                used.add(stored[name])
    return found


def text_names(names: Iterable[Any], where: str, notices: dict[str, str]) -> list[str]:
    """Names of columns as text; the levels of a multi-level name are joined by `_`.

    Raises
    ------
    SlafError
        Two of them are the same.
    """
    texts, seen = [], set()
    for name in names:
        text = name
        if isinstance(name, tuple):
            text = "_".join(str(level) for level in name if str(level))
        if not isinstance(text, str):
            text = str(text)
        if text is not name:
            notices[f"{where}/{text}"] = f"the name {name!r} as text"
        if text in seen:
            raise SlafError(f"`{where}` has the name `{text}` twice. Rename one, or leave it out.")
        seen.add(text)
        texts.append(text)
    return texts
