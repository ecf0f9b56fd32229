"""Folders with files for a matrix, its cells and its genes, by the tool that wrote them."""

from __future__ import annotations

from pathlib import Path

from slaf._slaf import SlafError
from slaf.data.sources.alevin import alevin_source, is_alevin
from slaf.data.sources.base import Source
from slaf.data.sources.kb import is_kb, kb_source
from slaf.data.sources.parse_biosciences import is_parse, parse_source
from slaf.data.sources.starsolo import is_starsolo, starsolo_source
from slaf.data.sources.tenx_mtx import is_tenx_folder, matrix_at, mtx_source

_READERS = {
    "10x_mtx": mtx_source,
    "starsolo": starsolo_source,
    "kb": kb_source,
    "alevin": alevin_source,
    "parse": parse_source,
}

#: The names of the formats.
FOLDER_FORMATS = tuple(_READERS)

#: Files by which a folder's format is recognised; 10x's is last.
_SIGNS = {
    "starsolo": is_starsolo,
    "kb": is_kb,
    "alevin": is_alevin,
    "parse": is_parse,
    "10x_mtx": is_tenx_folder,
}


def folder_format(path: Path) -> str | None:
    """The format of a folder. "10x_mtx" also for a prefix of files, or for a matrix.mtx
    with a file of cells beside it."""
    if path.is_dir():
        return next((kind for kind, is_one in _SIGNS.items() if is_one(path)), None)
    return None if matrix_at(path) is None else "10x_mtx"


def folder_source(path: Path, kind: str) -> Source:
    """The source for the input at `path`, in one of the formats above."""
    if path.is_file() and not (kind == "10x_mtx" and ".mtx" in path.name.lower()):
        raise SlafError(f"`{path}` is a file, and {kind} is a folder. Name the folder.")
    return _READERS[kind](path)
