"""AnnData in zarr, a folder or a zip file, with the same layout as in HDF5."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from slaf._slaf import SlafError
from slaf.data.sources.anndata_encodings import is_group
from slaf.data.sources.base import Source
from slaf.data.sources.h5ad import group_source

#: Files by which versions 3 and 2 of zarr are recognised.
_MARKS = ("zarr.json", ".zgroup")


def is_zarr(path: Path) -> bool:
    """Whether it is a zarr group."""
    if path.is_dir():
        return any((path / mark).exists() for mark in _MARKS)
    if path.suffix != ".zip":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(mark in archive.namelist() for mark in _MARKS)
    except zipfile.BadZipFile:
        return False


def zarr_source(path: Path, *, modality: str | None = None, skip: Collection[str] = ()) -> Source:
    """A source for the AnnData at `path`, or for a modality of a MuData, without the
    entries in `skip`.

    Raises
    ------
    SlafError
        It is not an AnnData, or is damaged, or zarr is not installed.
    """
    try:
        import zarr
    except ImportError:
        raise SlafError(
            f"`{path}` is a zarr store, and zarr is not installed. Install it (`pip install zarr`)."
        ) from None
    store: Any = str(path)
    close = _nothing
    try:
        if not path.is_dir():
            store = zarr.storage.ZipStore(str(path), mode="r")
            close = store.close
        group = zarr.open_group(store, mode="r")
    except Exception as error:  # zarr has no class for it
        close()
        raise SlafError(f"`{path}` is not a zarr group, or is damaged: {error}.") from None
    _check(path, group)
    return group_source(group, path.name, close, modality=modality, skip=skip)


def _nothing() -> None:
    """Does nothing: a folder need not be closed."""


def _check(path: Path, group: Any) -> None:
    """Raises an error for other kinds of data in zarr."""
    tables = group["tables"] if "tables" in group and "obs" not in group else None
    if tables is not None and is_group(tables):
        inside = ", ".join(f"`{path / 'tables' / name}`" for name in tables.keys())
        raise SlafError(f"`{path}` is SpatialData. Convert one of its tables: {inside}.")
