"""`SLAFArray`: a dataset with SQL over it."""

from __future__ import annotations

import io
import json
import os
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from slaf import _metadata, _slaf, _sql
from slaf._axis import Positions, argument, is_all
from slaf._values import handed_out, read_as
from slaf.core import conditions, long, tables
from slaf.core.row_index import RowIndexMapper


class SLAFArray:
    """A SLAF dataset, opened in place; nothing is read before it is asked for.

    Parameters
    ----------
    slaf_path
        The dataset's folder, or its address on `s3://`, `gs://`, `az://`,
        `hf://` or `memory://`.
    load_metadata, cache_dir
        Accepted for slafdb's sake. Metadata is always read on demand.
    version
        An earlier version of the dataset, as `slaf history` numbers them.
    storage_options
        Credentials and settings of the object store, under object_store's
        names; by default they come from the environment.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    SlafError
        It is not a SLAF dataset, or its tables cannot be read.
    OSError
        The storage cannot be reached.
    """

    def __init__(
        self,
        slaf_path: str | os.PathLike[str],
        load_metadata: bool = True,
        cache_dir: str | None = None,
        *,
        version: int | None = None,
        storage_options: dict[str, str] | None = None,
    ):
        self.slaf_path = os.fspath(slaf_path)
        self._options = storage_options
        self._dataset = _slaf.Dataset(self.slaf_path, version, storage_options)

    def _other(self, dataset: _slaf.Dataset, path: str | None = None) -> SLAFArray:
        """A dataset at the same storage."""
        array = type(self).__new__(type(self))
        array.slaf_path, array._dataset = path or dataset.uri, dataset
        array._options = self._options
        return array

    def _newest(self) -> SLAFArray:
        """The dataset as it is now."""
        return self._other(self._dataset.newest(), self.slaf_path)

    def _inside(self, name: str, version: int | None) -> SLAFArray:
        """The dataset `name` in this one."""
        return self._other(self._dataset.nested(name, version))

    def __copy__(self) -> SLAFArray:
        return self._other(self._dataset, self.slaf_path)

    def __deepcopy__(self, memo: dict[int, Any]) -> SLAFArray:
        return self.__copy__()

    def __reduce__(self) -> Any:
        """Where it is, and its version: another process opens it there."""
        uri = self._dataset.uri
        process = os.getpid() if uri.startswith("memory:") else None
        return _opened, (uri, self.slaf_path, self.version, self._options, process)

    @property
    def version(self) -> int | None:
        """The number of this version; None of a dataset that slafdb wrote or
        changed last."""
        return self._dataset.version

    @property
    def shape(self) -> tuple[int, int]:
        """Cells × genes."""
        return self._dataset.shape

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`."""
        return json.loads(self._dataset.config)

    @cached_property
    def obs(self) -> pl.DataFrame:
        """The cells table, a row a cell, without embeddings."""
        return self._frame("cells")

    @cached_property
    def var(self) -> pl.DataFrame:
        """The genes table, a row a gene, without embeddings."""
        return self._frame("genes")

    def query(
        self,
        sql: str,
        *,
        engine: str | None = None,
        limit: int | None = None,
        memory: int | None = None,
        **params: Any,
    ) -> pl.DataFrame:
        """Answers SQL over the tables `cells`, `genes`, `expression` (and
        `layers`, `cellsxcells`, `genesxgenes` where they exist).

        Parameters
        ----------
        sql
            One statement or several; the answer is that of the last. Views and
            tables that one creates stay for later questions.
        engine
            "polars" or "datafusion"; by default the quicker that is right.
        limit
            Rows that are wanted at most.
        memory
            Bytes that may be taken before the engine spills to disk, about; by
            default a quarter of the machine's.
        params
            Values for `$name` and `{{name}}`: numbers, texts, dates, lists
            (`IN $genes`), and frames, which are also tables by their names.

        Raises
        ------
        SlafError
            A statement is not valid, or names an unknown table, column or value.
        """
        answer = self._ask(sql, engine, limit=limit, memory=memory, **params)
        if answer is None:
            return pl.DataFrame()
        for warning in answer.warnings:
            import warnings

            warnings.warn(warning, stacklevel=2)
        return pl.DataFrame(answer)

    def scan(
        self, table: str = "expression", *, obs: Any = (), var: Any = (), layer: str | None = None
    ) -> pl.LazyFrame:
        """A table as a `polars.LazyFrame`; see :func:`slaf.scan`."""
        from slaf.lazy.scan import scan

        return scan(self, table, obs=obs, var=var, layer=layer)

    def filter_cells(self, **filters: Any) -> pl.DataFrame:
        """Rows of the cells table that meet every filter, in its order, without
        embeddings.

        A filter is a column and what it must be: a number, a text or a bool; a
        list of some; a text that begins with `>=`, `<=`, `>`, `<`, `!=` or `==`,
        such as `n_genes=">= 500"` or `cell_type="!= B cells"`; or None, a missing
        value, which no comparison is true of. No filter selects all.

        Raises
        ------
        SlafError
            There is no such column, or the value does not compare with it.
        """
        return conditions.filtered(self, "cells", filters) if filters else self.obs.clone()

    def filter_genes(self, **filters: Any) -> pl.DataFrame:
        """Rows of the genes table; otherwise as :meth:`filter_cells`."""
        return conditions.filtered(self, "genes", filters) if filters else self.var.clone()

    def get_cell_expression(self, cell_ids: str | list[str]) -> pl.DataFrame:
        """The stored values of some cells, in the order that they are named in.

        Returns
        -------
        `cell_id` and `gene_id` (text) and `value` (X's dtype), a row a value.

        Raises
        ------
        KeyError
            There is no such cell; near names are given.
        """
        cells = long.positions(self, cell_ids, 0)
        source = long.source_of(self, "expression", None)
        return long.values(source, self, cells, range(self.shape[1]))

    def get_gene_expression(self, gene_ids: str | list[str]) -> pl.DataFrame:
        """The stored values of some genes, cell by cell; within a cell, genes come
        in the dataset's order. Result and errors as :meth:`get_cell_expression`."""
        genes = long.each_once(long.positions(self, gene_ids, 1))
        source = long.source_of(self, "expression", None)
        return long.values(source, self, range(self.shape[0]), genes)

    def get_submatrix(
        self,
        cell_selector: Any | None = None,
        gene_selector: Any | None = None,
        table_name: str = "expression",
        layer_name: str | None = None,
    ) -> pl.DataFrame:
        """The stored values of selected cells and genes, in the order of the
        selection.

        Parameters
        ----------
        cell_selector, gene_selector
            None (all), a slice, a position, positions, a mask, ids, or a frame with
            an id column.
        table_name, layer_name
            "expression" for X, or "layers" and the layer.

        Returns
        -------
        `cell_id` and `gene_id` (text) and `value` (the matrix's dtype), a row a
        value.

        Raises
        ------
        IndexError, KeyError
            A position or an id is not there.
        SlafError
            There is no such table or layer.
        """
        source = long.source_of(self, table_name, layer_name)
        cells = long.positions(self, cell_selector, 0)
        genes = long.positions(self, gene_selector, 1)
        return long.values(source, self, cells, genes)

    @property
    def expression(self) -> Any:
        """The table as a `lance.LanceDataset`.

        Raises
        ------
        ImportError
            pylance is not installed.
        """
        return tables.lance_table(self, "expression")

    @property
    def cells(self) -> Any:
        """As :attr:`expression`."""
        return tables.lance_table(self, "cells")

    @property
    def genes(self) -> Any:
        """As :attr:`expression`."""
        return tables.lance_table(self, "genes")

    @property
    def layers(self) -> Any | None:
        """As :attr:`expression`; None without layers."""
        return tables.lance_table(self, "layers")

    @property
    def cellsxcells(self) -> Any | None:
        """As :attr:`expression`; None without obsp."""
        return tables.lance_table(self, "cellsxcells")

    @property
    def genesxgenes(self) -> Any | None:
        """As :attr:`expression`; None without varp."""
        return tables.lance_table(self, "genesxgenes")

    @cached_property
    def row_mapper(self) -> RowIndexMapper:
        """Which rows of `expression` are of which cells."""
        return RowIndexMapper(self)

    def info(self) -> None:
        """Prints what the dataset holds."""
        print(self._describe())

    def is_metadata_ready(self) -> bool:
        """True: metadata is read on demand."""
        return True

    def is_metadata_loading(self) -> bool:
        """False: nothing loads in the background."""
        return False

    def wait_for_metadata(self, timeout: float | None = None) -> None:
        """Returns at once: nothing loads in the background."""

    def __repr__(self) -> str:
        cells, genes = self.shape
        return f"SLAFArray of {cells:,} cells × {genes:,} genes at {self.slaf_path}"

    def _repr_html_(self) -> str:
        from slaf import _display

        return _display.array_html(self)

    # What the handles need ------------------------------------------------

    @cached_property
    def _session(self) -> _sql.SqlSession:
        return _sql.of_array(self)

    def _ask(
        self,
        sql: str,
        engine: str | None = None,
        *,
        limit: int | None = None,
        memory: int | None = None,
        **params: Any,
    ) -> _slaf.Answer | None:
        session = self._session
        before = {name: session.namespace[name] for name in params if name in session.namespace}
        session.namespace.update(params)
        try:
            return session.run(sql, engine=engine, limit=limit, memory=memory)
        finally:
            for name in params:
                session.namespace.pop(name, None)
            session.namespace.update(before)

    @cached_property
    def _notes(self) -> dict[str, Any]:
        """What we wrote into the configuration; empty for slafdb's datasets."""
        return self.config.get("slaf", {})

    @cached_property
    def _columns(self) -> dict[str, dict[str, str]]:
        """Table → column → Arrow type."""
        return {name: dict(columns) for name, _, columns in self._dataset.tables()}

    def _plain(self, table: str) -> list[str]:
        return [n for n, kind in self._columns[table].items() if "FixedSizeList" not in kind]

    def _vectors(self, table: str) -> list[str]:
        return [n for n, kind in self._columns[table].items() if "FixedSizeList" in kind]

    def _frame(self, table: str) -> pl.DataFrame:
        return pl.DataFrame(self._dataset.read(table, self._plain(table)))

    @cached_property
    def _obs_names(self) -> pd.Index:
        return self._names("obs")

    @cached_property
    def _var_names(self) -> pd.Index:
        return self._names("var")

    def _names(self, axis: str, rows: Positions | None = None) -> pd.Index:
        table, column = ("cells", "cell_id") if axis == "obs" else ("genes", "gene_id")
        notes = self._notes.get(axis)
        name = column if notes is None else notes["index_name"]
        ids = self._column(table, column, rows)
        return pd.Index(ids.to_numpy(zero_copy_only=False), dtype=_metadata.TEXT, name=name)

    def _vector(self, table: str, key: str, rows: Positions | None = None) -> np.ndarray:
        """The fixed-size lists of a column: rows × length."""
        column = self._column(table, key, rows).combine_chunks()
        return column.flatten().to_numpy().reshape(len(column), column.type.list_size)

    def _column(self, table: str, name: str, rows: Positions | None) -> pa.ChunkedArray:
        n = self.shape[0 if table == "cells" else 1]
        place = None if rows is None or is_all(rows, n) else argument(rows)
        return pa.table(self._dataset.read(table, [name], place)).column(0)

    @cached_property
    def _x_dtype(self) -> np.dtype:
        """What X is handed out as: its source's dtype, or, of a dataset that
        does not say, float32 for counts, as AnnData holds them."""
        noted = (self._notes.get("x") or {}).get("dtype")
        stored = self._dataset.value_dtype
        return handed_out(noted or ("float32" if stored == "uint16" else stored))

    def _csr(self, cells: Any, genes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """indptr, indices and data of X."""
        dtype = self._x_dtype
        arrays = self._dataset.csr(argument(cells), argument(genes), read_as(dtype))
        return (*arrays[:2], arrays[2].astype(dtype, copy=False))

    @cached_property
    def _extras(self) -> dict[str, Any]:
        """What the format has no place for, read whole."""
        name = self._notes.get("extras")
        content = None if name is None else self._dataset.file(name)
        if content is None:
            return {}
        import h5py
        from anndata.io import read_elem

        with h5py.File(io.BytesIO(content)) as file:
            return {key: read_elem(file[key]) for key in file}

    def _describe(self) -> str:
        cells, genes = self.shape
        nnz = self._dataset.nnz
        density = 100 * nnz / (cells * genes) if cells * genes else 0.0
        lines = [
            f"SLAF dataset  {self.slaf_path}",
            f"  shape       {cells:,} cells × {genes:,} genes",
            f"  expression  {nnz:,} values, {density:.2f} % dense, read as {self._x_dtype}",
            f"  obs         {', '.join(c['name'] for c in self._note_columns('obs')) or '-'}",
            f"  var         {', '.join(c['name'] for c in self._note_columns('var')) or '-'}",
            f"  obsm        {', '.join(self._vectors('cells')) or '-'}",
            f"  layers      {', '.join(self._keys('layers')) or '-'}",
            f"  format      {self.config.get('format_version', 'unknown')}",
            f"  version     {self.version or '-'}",
            f"  by gene     {self._by_gene()}",
        ]
        if defect := self._dataset.defect():
            lines.append(f"  repaired    {defect}; rows are read by their own ids instead")
        return "\n".join(lines)

    def _by_gene(self) -> str:
        by_gene, _ = self._dataset.companions()
        if by_gene:
            return "yes"
        stale = "companions" in self._notes
        return "stale; `slaf index` makes it anew" if stale else "no; `slaf index` makes it"

    def _note_columns(self, axis: str) -> list[dict[str, Any]]:
        """Of each column, its name and how it is stored. Of one that slafdb has
        added, that is its name."""
        notes = (self._notes.get(axis) or {"columns": []})["columns"]
        noted = {note["stored"] for note in notes} | _metadata.RESERVED
        plain = self._plain("cells" if axis == "obs" else "genes")
        stored = [note for note in notes if note["stored"] in plain]
        return [*stored, *({"name": n, "stored": n} for n in plain if n not in noted)]

    def _keys(self, section: str) -> list[str]:
        """Keys of `layers`, `obsp` or `varp`."""
        table = {"layers": "layers", "obsp": "cellsxcells", "varp": "genesxgenes"}[section]
        ids = ("cell_integer_id", "gene_integer_id")
        return [c for c in self._columns.get(table, {}) if not c.startswith(ids)]


def _opened(
    uri: str,
    path: str,
    version: int | None,
    options: dict[str, str] | None,
    process: int | None,
) -> SLAFArray:
    if process not in (None, os.getpid()):
        raise _slaf.SlafError(
            f"`{path}` is in the memory of another process. Write the dataset to a folder or an "
            "object store to open it here."
        )
    array = SLAFArray(uri, version=version, storage_options=options)
    array.slaf_path = path
    return array
