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
    """A SLAF dataset, opened in place. Data is read only when it is needed.

    Parameters
    ----------
    slaf_path
        The dataset's folder, or its URL on `s3://`, `gs://`, `az://`, `hf://` or
        `memory://`.
    load_metadata, cache_dir
        Accepted for compatibility with slafdb, and ignored. Metadata is always read on
        demand.
    version
        The number of an earlier version, as `slaf history` lists them.
    storage_options
        Credentials and settings of the object store, under object_store's
        names; by default they come from the environment.

    Raises
    ------
    FileNotFoundError
        There is nothing at this path.
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
        """Wraps an open dataset."""
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
        """The path of the dataset, as it was given."""
        return self._dataset.path

    @property
    def version(self) -> int | None:
        """The number of this version; None if slafdb wrote or changed the dataset last."""
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
        """The cells table: one row per cell, without embeddings."""
        return self._dataset.frame("cells")

    @cached_property
    def var(self) -> pl.DataFrame:
        """The genes table: one row per gene, without embeddings."""
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
        """Runs SQL on the tables `cells`, `genes`, `expression` (and `layers`,
        `cellsxcells`, `genesxgenes` if they exist).

        Parameters
        ----------
        sql
            One or several statements; the result is that of the last. Views and tables
            that they create are kept for later queries.
        engine
            "polars" or "datafusion"; by default the faster one that gives the correct
            result.
        limit
            Maximum number of rows.
        memory
            Approximate limit in bytes, beyond which the engine spills to disk; by
            default a quarter of the machine's memory.
        params
            Values for `$name` and `{{name}}`: numbers, text, dates, lists (`IN
            $genes`), and frames, which are also tables with these names.

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
        from slaf.data.lazy_frames import scan

        return scan(self, table, obs=obs, var=var, layer=layer)

    def filter_cells(self, **filters: Any) -> pl.DataFrame:
        """Rows of the cells table that meet every filter, in its order, without
        embeddings.

        A filter is a column and the values to keep: a number, text or bool; a list of
        them; a text that begins with `>=`, `<=`, `>`, `<`, `!=` or `==`, such as
        `n_genes=">= 500"` or `cell_type="!= B cells"`; or None for missing values,
        which no comparison keeps. Without filters, all rows are selected.

        Raises
        ------
        SlafError
            There is no such column, or its type cannot be compared with the value.
        """
        return filtered(self._dataset, "cells", filters) if filters else self.obs.clone()

    def filter_genes(self, **filters: Any) -> pl.DataFrame:
        """Rows of the genes table that meet every filter; see :meth:`filter_cells`."""
        return filtered(self._dataset, "genes", filters) if filters else self.var.clone()

    def get_cell_expression(self, cell_ids: str | list[str]) -> pl.DataFrame:
        """The stored values of some cells, in the order in which they are given.

        Returns
        -------
        `cell_id` and `gene_id` (text) and `value` (X's dtype), one row per value.

        Raises
        ------
        KeyError
            There is no such cell; the message suggests similar names.
        """
        return self.get_submatrix(cell_ids, None)

    def get_gene_expression(self, gene_ids: str | list[str]) -> pl.DataFrame:
        """The stored values of some genes, sorted by cell, and within a cell in the
        dataset's order of genes. Result and errors as for :meth:`get_cell_expression`."""
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
        `cell_id` and `gene_id` (text) and `value` (the matrix's dtype), one row per
        value.

        Raises
        ------
        IndexError, KeyError
            A position is out of range, or an id does not exist.
        SlafError
            There is no such table or layer.
        """
        # Importing scipy takes a quarter of a second, and SQL does not need it.
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
        """See :attr:`expression`."""
        return lance_table(self._dataset, "cells")

    @property
    def genes(self) -> Any:
        """See :attr:`expression`."""
        return lance_table(self._dataset, "genes")

    @property
    def layers(self) -> Any | None:
        """See :attr:`expression`; None if there are no layers."""
        return lance_table(self._dataset, "layers")

    @property
    def cellsxcells(self) -> Any | None:
        """See :attr:`expression`; None if there is no obsp."""
        return lance_table(self._dataset, "cellsxcells")

    @property
    def genesxgenes(self) -> Any | None:
        """See :attr:`expression`; None if there is no varp."""
        return lance_table(self._dataset, "genesxgenes")

    @cached_property
    def row_mapper(self) -> RowIndexMapper:
        """The rows of `expression` that belong to each cell."""
        from slaf.lazy.row_index import RowIndexMapper

        return RowIndexMapper(self)

    def info(self) -> None:
        """Prints what the dataset contains."""
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
