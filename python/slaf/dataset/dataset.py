"""A dataset at one version: its tables, its configuration, and methods that read parts of
it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from slaf import _slaf
from slaf.dataset.secrets import HOW_TO_SUPPLY, SentOptions
from slaf.ground import metadata
from slaf.ground.axes import Positions, argument, is_all
from slaf.ground.dtypes import handed_out, read_as

#: The coordinate tables, by section.
_PAIRS = {"layers": "layers", "obsp": "cellsxcells", "varp": "genesxgenes"}


class Dataset:
    """An open dataset, from which everything reads. `SLAFArray` is its public class.

    Parameters
    ----------
    engine
        The open dataset of the engine.
    path
        Its path, as it was given.
    options
        Settings of the object store.
    face
        A function that makes the public object for a dataset.
    """

    def __init__(
        self,
        engine: _slaf.Dataset,
        path: str,
        options: dict[str, str] | None = None,
        face: Callable[[Dataset], Any] | None = None,
    ):
        self.engine, self.path, self.options, self.face = engine, path, options, face
        #: Cells × genes.
        self.shape: tuple[int, int] = engine.shape
        #: None if slafdb wrote or changed the dataset last.
        self.version: int | None = engine.version

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        version: int | None = None,
        options: dict[str, str] | None = None,
        face: Callable[[Dataset], Any] | None = None,
    ) -> Dataset:
        """Opens a dataset. Errors as for :class:`slaf.SLAFArray`."""
        path = os.fspath(path)
        return cls(_slaf.Dataset(path, version, options), path, options, face)

    def newest(self) -> Dataset:
        """The newest version of this dataset."""
        return Dataset(self.engine.newest(), self.path, self.options, self.face)

    def nested(self, name: str, version: int | None) -> Dataset:
        """The dataset `name` inside this one, such as `raw`."""
        engine = self.engine.nested(name, version)
        return Dataset(engine, engine.uri, self.options, self.face)

    @cached_property
    def public(self) -> Any:
        """The public object for this dataset; None if there is no `face`."""
        return None if self.face is None else self.face(self)

    @property
    def stamp(self) -> str:
        """Identifies this version. If another dataset replaces this one, its version of
        the same number has another stamp."""
        manifest = self.notes.get("manifest")
        if self.version is None or manifest is None:
            return hashlib.sha256(self.engine.config.encode()).hexdigest()
        return manifest["at"]

    def __reduce__(self) -> Any:
        """Pickles its path and version, and `options` without secrets; another process
        opens it again, with the secrets of its own environment."""
        uri = self.engine.uri
        process = os.getpid() if uri.startswith("memory:") else None
        options = SentOptions.of(uri, self.options)
        where = (uri, self.path, self.version, options, self.face, process, self.stamp)
        return _opened, where

    # What there is --------------------------------------------------------

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`."""
        return json.loads(self.engine.config)

    @cached_property
    def notes(self) -> dict[str, Any]:
        """Our part of the configuration; empty for slafdb's datasets."""
        return self.config.get("slaf", {})

    @cached_property
    def columns(self) -> dict[str, dict[str, str]]:
        """Table → column → Arrow type."""
        return {name: dict(columns) for name, _, columns in self.engine.tables()}

    def plain_columns(self, table: str) -> list[str]:
        """The columns of a table that are not vectors."""
        return [n for n, kind in self.columns[table].items() if "FixedSizeList" not in kind]

    def vector_columns(self, table: str) -> list[str]:
        return [n for n, kind in self.columns[table].items() if "FixedSizeList" in kind]

    def vectors(self, table: str, key: str) -> tuple[str, int]:
        """The dtype and the length of a column of vectors."""
        kind = self.columns[table][key]
        width = re.search(r"\d+(?= x )", kind)
        return "float64" if "Float64" in kind else "float32", int(width[0]) if width else 0

    def column_notes(self, axis: str) -> list[dict[str, Any]]:
        """For each column of obs or var, its `name` and the name as which it is
        `stored`. They are equal for columns that slafdb has added."""
        notes = (self.notes.get(axis) or {"columns": []})["columns"]
        noted = {note["stored"] for note in notes} | metadata.RESERVED
        plain = self.plain_columns("cells" if axis == "obs" else "genes")
        stored = [note for note in notes if note["stored"] in plain]
        return [*stored, *({"name": n, "stored": n} for n in plain if n not in noted)]

    def keys(self, section: str) -> list[str]:
        """Keys of `layers`, `obsp` or `varp`."""
        ids = ("cell_integer_id", "gene_integer_id")
        return [c for c in self.columns.get(_PAIRS[section], {}) if not c.startswith(ids)]

    # The cost of reading ----------------------------------------------------

    @cached_property
    def column_bytes(self) -> dict[str, dict[str, int]]:
        """The stored size of the columns of the metadata and coordinate tables: table →
        column → bytes. Reads the footers of their files."""
        tables = [name for name in self.columns if name != "expression"]
        return {name: dict(self.engine.column_bytes(name)) for name in tables}

    def pair_bytes(self, section: str, key: str) -> int | None:
        """The stored size of a matrix of `layers`, `obsp` or `varp` and its coordinates, in
        bytes."""
        found = self.column_bytes.get(_PAIRS[section], {})
        places = sum(size for name, size in found.items() if name not in self.keys(section))
        return found[key] + places if key in found else None

    def stored_pairs(self, section: str, key: str) -> int | None:
        """The number of stored values of such a matrix; None if its table has others."""
        if self.keys(section) != [key]:
            return None
        return next(rows for name, rows, _ in self.engine.tables() if name == _PAIRS[section])

    # Reading --------------------------------------------------------------

    def frame(self, table: str) -> pl.DataFrame:
        """A table without its columns of vectors."""
        return pl.DataFrame(self.engine.read(table, self.plain_columns(table)))

    def column(self, table: str, name: str, rows: Positions | None) -> pa.ChunkedArray:
        """Some rows (None: all) of a column."""
        n = self.shape[0 if table == "cells" else 1]
        place = None if rows is None or is_all(rows, n) else argument(rows)
        return pa.table(self.engine.read(table, [name], place)).column(0)

    def vector(self, table: str, key: str, rows: Positions | None = None) -> np.ndarray:
        """A column of fixed-size lists, as an array of rows × length."""
        column = self.column(table, key, rows).combine_chunks()
        return column.flatten().to_numpy().reshape(len(column), column.type.list_size)

    @cached_property
    def obs_names(self) -> pd.Index:
        return self.names("obs")

    @cached_property
    def var_names(self) -> pd.Index:
        return self.names("var")

    def names(self, axis: str, rows: Positions | None = None) -> pd.Index:
        """Names of cells or genes, read each time."""
        table, column = ("cells", "cell_id") if axis == "obs" else ("genes", "gene_id")
        notes = self.notes.get(axis)
        name = column if notes is None else notes["index_name"]
        ids = self.column(table, column, rows)
        return pd.Index(ids.to_numpy(zero_copy_only=False), dtype=metadata.TEXT, name=name)

    @cached_property
    def x_dtype(self) -> np.dtype:
        """The dtype in which X is returned: that of its source or, if the dataset does
        not say, float32 for counts, as in AnnData."""
        noted = (self.notes.get("x") or {}).get("dtype")
        stored = self.engine.value_dtype
        return handed_out(noted or ("float32" if stored == "uint16" else stored))

    def csr(self, cells: Positions, genes: Positions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """indptr, indices and data of X."""
        dtype = self.x_dtype
        arrays = self.engine.csr(argument(cells), argument(genes), read_as(dtype))
        return (*arrays[:2], arrays[2].astype(dtype, copy=False))

    def matrix_dtype(self, section: str, key: str) -> np.dtype:
        """The dtype in which a matrix of `layers`, `obsp` or `varp` is returned: the
        one with which it was written."""
        noted = self.notes.get(section, {}).get(key, {}).get("dtype")
        if noted:
            return handed_out(noted)
        kinds = {"Float": "float32", "Float32": "float32", "Float64": "float64", "UInt16": "uint16"}
        return np.dtype(kinds.get(self.columns[_PAIRS[section]][key], "float64"))

    def matrix_csr(
        self, section: str, key: str, rows: Positions, columns: Positions
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """indptr, indices and data of a matrix of `layers`, `obsp` or `varp`."""
        dtype = self.matrix_dtype(section, key)
        place = argument(rows), argument(columns)
        indptr, indices, data = self.engine.pairs(section, key, *place, read_as(dtype))
        return indptr, indices, data.astype(dtype, copy=False)

    @cached_property
    def row_starts(self) -> np.ndarray:
        """The first row of each cell in `expression`, and the end of the last: int64,
        length cells + 1. Wrong offsets, which slafdb stores if obs has a column with
        other counts, are counted again."""
        if self.engine.defect() is None:
            starts = self.column("cells", "cell_start_index", None).to_numpy()
            return np.append(starts, self.engine.nnz).astype(np.int64)
        lengths = np.zeros(self.shape[0], dtype=np.int64)
        for start in range(0, self.engine.nnz, _COUNTED):
            rows = (start, 1, min(_COUNTED, self.engine.nnz - start))
            table = pa.table(self.engine.read("expression", ["cell_integer_id"], rows))
            ids = table.column(0).to_numpy()
            lengths += np.bincount(ids, minlength=self.shape[0])
        return np.append(0, np.cumsum(lengths))

    @cached_property
    def extras(self) -> dict[str, Any]:
        """The entries that the tables cannot hold, read completely."""
        name = self.notes.get("extras")
        content = None if name is None else self.engine.file(name)
        if content is None:
            return {}
        import h5py
        from anndata.io import read_elem

        with h5py.File(io.BytesIO(content)) as file:
            return {key: read_elem(file[key]) for key in file}


#: Rows of `expression` that are counted at a time.
_COUNTED = 1 << 22


class OverDataset:
    """Base class of objects with a dataset; subclasses set `self._dataset`."""

    _dataset: Dataset


def dataset_of(array: OverDataset | Dataset) -> Dataset:
    """The dataset of a `SLAFArray`. A dataset is returned as it is.

    Raises
    ------
    TypeError
        It is neither.
    """
    if isinstance(array, Dataset):
        return array
    if not isinstance(array, OverDataset):
        raise TypeError(f"This takes a SLAFArray, not a {type(array).__name__}.")
    return array._dataset


def _opened(
    uri: str,
    path: str,
    version: int | None,
    options: SentOptions,
    face: Callable[[Dataset], Any] | None,
    process: int | None,
    stamp: str,
) -> Dataset:
    if process not in (None, os.getpid()):
        raise _slaf.SlafError(
            f"`{path}` is in the memory of another process. Write the dataset to a folder or an "
            "object store to open it here."
        )
    settings = options.here(uri)
    try:
        engine = _slaf.Dataset(uri, version, settings)
    except (OSError, _slaf.SlafError) as error:
        if options.withheld and settings == options.sent:
            raise type(error)(f"{error} {HOW_TO_SUPPLY}") from None
        raise
    dataset = Dataset(engine, path, settings, face)
    if dataset.stamp != stamp:
        raise _slaf.SlafError(
            f"`{path}` was written anew since it was opened elsewhere. Open it again there."
        )
    return dataset
