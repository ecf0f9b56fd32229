"""slafdb's module of the same name: finds the input files in a path, and checks that they
have the same format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from slaf._slaf import SlafError
from slaf.data.sources import detect, inputs_in, open_source
from slaf.data.sources.folders import folder_format
from slaf.ground.metadata.frames import frame_of, index_of

#: Endings that give the format of a file that does not exist yet, or cannot be read.
_ENDINGS = {".h5ad": "h5ad", ".h5mu": "h5ad", ".h5": "10x_h5"}


def detect_format(input_path: str) -> str:
    """The format of an input, one of `FORMATS`. An existing input is inspected;
    otherwise its name decides.

    Raises
    ------
    SlafError
        The format is unknown.
    """
    path = Path(input_path)
    known = _ENDINGS.get(path.suffix)
    if "://" not in os.fspath(input_path) and not path.exists() and not folder_format(path):
        if known is None:
            raise SlafError(f"`{input_path}` has an unknown format.")
        return known
    if path.is_file() and known and not _is_hdf5(path):
        return known
    return detect(os.fspath(input_path))


def discover_input_files(input_path: str, max_depth: int = 2) -> tuple[list[str], str]:
    """The inputs at a path, by name, and their format.

    If the path itself is an input, it is the only one. Otherwise the folder is searched
    for inputs, `max_depth` levels deep; SLAF datasets are skipped.

    Raises
    ------
    FileNotFoundError
        There is nothing at `input_path`.
    SlafError
        There is no input, or there are inputs of several formats.
    """
    if not os.path.exists(input_path):
        raise FileNotFoundError(f"There is nothing at `{input_path}`. Check the spelling.")
    if not os.path.isdir(input_path):
        return [input_path], detect_format(input_path)
    try:
        return [input_path], detect_format(input_path)
    except SlafError:
        found = _below(Path(input_path), max_depth)
    if not found:
        raise SlafError(
            f"`{input_path}` holds nothing that can be converted: no h5ad or h5 file, no "
            "folder of 10x, STARsolo, kb, alevin or Parse, no TileDB-SOMA experiment."
        )
    formats = sorted(set(found.values()))
    if len(formats) > 1:
        raise SlafError(
            f"`{input_path}` holds inputs of several formats, {', '.join(formats)}. "
            "Name those of one."
        )
    return sorted(found), formats[0]


def validate_input_files(file_paths: list[str], format_type: str) -> None:
    """Checks that inputs are of the same kind: all can be opened, and have the same
    genes (in any order), obs columns and kind of values (integers or fractions) as the
    first. The converter itself is less strict, and aligns inputs that differ.

    Raises
    ------
    SlafError
        The message lists all problems, one per line.
    """
    wrong, first = [], None
    for path in file_paths:
        try:
            found = _schema(path, format_type)
        except (SlafError, OSError) as error:
            wrong.append(str(error))
            continue
        if first is None:
            first = found
        else:
            wrong += _differences(os.path.basename(os.path.normpath(path)), found, first)
    if wrong:
        raise SlafError("The inputs do not belong together:\n" + "\n".join(wrong))


#: slafdb's earlier name.
validate_multi_file_compatibility = validate_input_files


def _is_hdf5(path: Path) -> bool:
    import h5py

    return path.is_file() and h5py.is_hdf5(path)


def _below(folder: Path, depth: int) -> dict[str, str]:
    """The inputs below a folder, and their formats."""
    found = {}
    if depth < 1:
        return found
    inputs = inputs_in(folder)
    for path in inputs:
        kind = detect_format(os.fspath(path))
        if kind != "slaf":
            found[os.fspath(path)] = kind
    for path in folder.iterdir():
        if path.is_dir() and path not in inputs and not path.name.startswith("."):
            found.update(_below(path, depth - 1))
    return found


def _schema(path: str, format_type: str) -> dict[str, set[str]]:
    source = open_source(path, format_type)
    try:
        rest = source.rest()
        integers = source.counts or np.dtype(source.x.note["dtype"]).kind in "biu"
        return {
            "gene": set(index_of(rest.var).astype(str)),
            "obs column": set(map(str, frame_of(rest.obs).columns)),
            "kind of values": {"integers" if integers else "fractions"},
        }
    finally:
        source.close()


def _differences(name: str, found: dict[str, set[str]], first: dict[str, set[str]]) -> list[str]:
    differences = []
    for what, wanted in first.items():
        lacks, more = sorted(wanted - found[what]), sorted(found[what] - wanted)
        if lacks:
            differences.append(f"`{name}` lacks the {what} {_some(lacks)} of the first input.")
        if more:
            differences.append(
                f"`{name}` has the {what} {_some(more)}, which the first input lacks."
            )
    return differences


def _some(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
