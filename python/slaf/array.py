"""`SLAFArray`: a dataset that you can query with SQL."""

from __future__ import annotations

import os
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from slaf.dataset import Dataset, OverDataset
from slaf.dataset.displays import dataset_html, dataset_text
from slaf.dataset.lance import lance_table
from slaf.sql import SqlSession, session_of
from slaf.sql.filters import filtered

if TYPE_CHECKING:
    from slaf.lazy.row_index import RowIndexMapper


class SLAFArray(OverDataset):
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
        self._dataset = Dataset.open(slaf_path, version, storage_options, type(self).over)
        self._dataset.public = self

    @classmethod
    def over(cls, dataset: Dataset) -> SLAFArray:
        """The face of an open dataset."""
        array = cls.__new__(cls)
        array._dataset = dataset
        return array

    def __copy__(self) -> SLAFArray:
        return self.over(self._dataset)

    def __deepcopy__(self, memo: dict[int, Any]) -> SLAFArray:
        return self.__copy__()

    def __reduce__(self) -> Any:
        return type(self).over, (self._dataset,)

    @property
    def slaf_path(self) -> str:
        """Where the dataset is, as it was named."""
        return self._dataset.path

    @property
    def version(self) -> int | None:
        """The number of this version; None of a dataset that slafdb wrote or
        changed last."""
        return self._dataset.version

    @property
    def shape(self) -> tuple[int, int]:
        """Cells × genes."""
        return self._dataset.shape

    @property
    def config(self) -> dict[str, Any]:
        """`config.json`."""
        return self._dataset.config

    @cached_property
    def obs(self) -> pl.DataFrame:
        """The cells table, a row a cell, without embeddings."""
        return self._dataset.frame("cells")

    @cached_property
    def var(self) -> pl.DataFrame:
        """The genes table, a row a gene, without embeddings."""
        return self._dataset.frame("genes")

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
        with self._session.given(params):
            answer = self._session.run(sql, engine=engine, limit=limit, memory=memory)
        if answer is None:
            return pl.DataFrame()
        for warning in answer.warnings:
            warnings.warn(warning, stacklevel=2)
        return pl.DataFrame(answer)

    def scan(
        self, table: str = "expression", *, obs: Any = (), var: Any = (), layer: str | None = None
    ) -> pl.LazyFrame:
        """A table as a `polars.LazyFrame`; see :func:`slaf.scan`."""
        from slaf.data.plans import scan

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
        return filtered(self._dataset, "cells", filters) if filters else self.obs.clone()

    def filter_genes(self, **filters: Any) -> pl.DataFrame:
        """Rows of the genes table; otherwise as :meth:`filter_cells`."""
        return filtered(self._dataset, "genes", filters) if filters else self.var.clone()

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
        return self.get_submatrix(cell_ids, None)

    def get_gene_expression(self, gene_ids: str | list[str]) -> pl.DataFrame:
        """The stored values of some genes, cell by cell; within a cell, genes come
        in the dataset's order. Result and errors as :meth:`get_cell_expression`."""
        from slaf.lazy.value_rows import each_once, matrix_of, positions, values_of

        dataset = self._dataset
        genes = each_once(positions(dataset, gene_ids, 1))
        cells = range(dataset.shape[0])
        return values_of(matrix_of(dataset, "expression", None), dataset, cells, genes)

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
        # scipy takes a quarter of a second, and SQL needs none of it.
        from slaf.lazy.value_rows import matrix_of, positions, values_of

        dataset = self._dataset
        source = matrix_of(dataset, table_name, layer_name)
        cells, genes = positions(dataset, cell_selector, 0), positions(dataset, gene_selector, 1)
        return values_of(source, dataset, cells, genes)

    @property
    def expression(self) -> Any:
        """The table as a `lance.LanceDataset`.

        Raises
        ------
        ImportError
            pylance is not installed.
        """
        return lance_table(self._dataset, "expression")

    @property
    def cells(self) -> Any:
        """As :attr:`expression`."""
        return lance_table(self._dataset, "cells")

    @property
    def genes(self) -> Any:
        """As :attr:`expression`."""
        return lance_table(self._dataset, "genes")

    @property
    def layers(self) -> Any | None:
        """As :attr:`expression`; None without layers."""
        return lance_table(self._dataset, "layers")

    @property
    def cellsxcells(self) -> Any | None:
        """As :attr:`expression`; None without obsp."""
        return lance_table(self._dataset, "cellsxcells")

    @property
    def genesxgenes(self) -> Any | None:
        """As :attr:`expression`; None without varp."""
        return lance_table(self._dataset, "genesxgenes")

    @cached_property
    def row_mapper(self) -> RowIndexMapper:
        """Which rows of `expression` are of which cells."""
        from slaf.lazy.row_index import RowIndexMapper

        return RowIndexMapper(self)

    def info(self) -> None:
        """Prints what the dataset holds."""
        print(dataset_text(self._dataset))

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
        return dataset_html(self._dataset)

    @cached_property
    def _session(self) -> SqlSession:
        return session_of(self._dataset)
