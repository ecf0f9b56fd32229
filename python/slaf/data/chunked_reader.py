"""Reads inputs of any format as Arrow tables, one range of cells at a time, under slafdb's
names."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from slaf._slaf import SlafError
from slaf.data.sources import open_source
from slaf.data.sources.base import Matrix, Source
from slaf.data.utils import detect_format
from slaf.ground.metadata.frames import frame_of, index_of

#: Allowed values of `value_type`; "auto" keeps the type of the values.
_VALUE_TYPES = ("auto", "uint16", "int32", "int64", "float32", "float64")


class BaseChunkedReader(ABC):
    """An input, to be used in a `with` statement.

    Chunks are Arrow tables with one row per stored value, sorted by cell:
    `cell_integer_id` (uint32) and `gene_integer_id` (uint16; uint32 if there are more
    genes than that), which count from 0 within the whole input, and `value`.
    """

    def __init__(self, file_path: str):
        self.file_path = os.fspath(file_path)

    def __enter__(self) -> BaseChunkedReader:
        self._open_file()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        self._close_file()

    @abstractmethod
    def _open_file(self) -> None: ...

    @abstractmethod
    def _close_file(self) -> None: ...

    @property
    @abstractmethod
    def n_obs(self) -> int:
        """Number of cells."""

    @property
    @abstractmethod
    def n_vars(self) -> int:
        """Number of genes."""

    @property
    @abstractmethod
    def obs_names(self) -> np.ndarray:
        """Ids of the cells: strings in an object array."""

    @property
    @abstractmethod
    def var_names(self) -> np.ndarray:
        """Ids of the genes: strings in an object array."""

    @abstractmethod
    def get_obs_metadata(self) -> pd.DataFrame:
        """obs: one row per cell, indexed by cell ids."""

    @abstractmethod
    def get_var_metadata(self) -> pd.DataFrame:
        """var: one row per gene, indexed by gene ids."""

    @abstractmethod
    def iter_chunks(
        self, chunk_size: int = 1000, obs_chunk: bool = True
    ) -> Iterator[tuple[pa.Table, slice]]:
        """Iterates over all cells in order, `chunk_size` at a time: their values, and a
        description of the chunk.

        Raises
        ------
        NotImplementedError
            `obs_chunk` is False; inputs can be read only by cells.
        """

    def get_chunk(self, obs_slice: slice | None = None, var_slice: slice | None = None) -> pa.Table:
        """Values in a slice of the cells and a slice of the genes; None takes all.
        Cells and genes keep their ids in the whole input, and come in ascending order."""
        return self._get_chunk_impl(
            slice(None) if obs_slice is None else obs_slice,
            slice(None) if var_slice is None else var_slice,
        )

    @abstractmethod
    def _get_chunk_impl(self, obs_slice: slice, var_slice: slice) -> pa.Table: ...


class _SourceReader(BaseChunkedReader):
    """Reads an input through the converter's sources."""

    _format = "auto"

    def __init__(self, file_path: str, value_type: str):
        super().__init__(file_path)
        if value_type not in _VALUE_TYPES:
            raise SlafError(
                f"There is no value type `{value_type}`. There are {', '.join(_VALUE_TYPES)}."
            )
        self.value_type = value_type
        self._opened: Source | None = None

    def _options(self) -> dict[str, str]:
        return {}

    def _open_file(self) -> None:
        self._opened = open_source(self.file_path, self._format, **self._options())

    def _close_file(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None
        self.__dict__.pop("_rest", None)

    @property
    def _source(self) -> Source:
        if self._opened is None:
            raise RuntimeError(
                f"`{self.file_path}` is not open. Read it within `with {type(self).__name__}(…) "
                "as reader:`."
            )
        return self._opened

    @cached_property
    def _rest(self) -> Any:
        return self._source.rest()

    @property
    def n_obs(self) -> int:
        return self._source.x.shape[0]

    @property
    def n_vars(self) -> int:
        return self._source.x.shape[1]

    @property
    def obs_names(self) -> np.ndarray:
        return index_of(self._rest.obs).to_numpy(dtype=object)

    @property
    def var_names(self) -> np.ndarray:
        return index_of(self._rest.var).to_numpy(dtype=object)

    def get_obs_metadata(self) -> pd.DataFrame:
        return frame_of(self._rest.obs).copy()

    def get_var_metadata(self) -> pd.DataFrame:
        return frame_of(self._rest.var).copy()

    def iter_chunks(
        self, chunk_size: int = 1000, obs_chunk: bool = True
    ) -> Iterator[tuple[pa.Table, slice]]:
        if not obs_chunk:
            raise NotImplementedError("Inputs are read by cells: `obs_chunk=True`.")
        if chunk_size < 1:
            raise SlafError(f"A chunk has one cell or more, not {chunk_size}.")
        return self._chunks(self._source.x, chunk_size)

    def _chunks(self, x: Matrix, size: int) -> Iterator[tuple[pa.Table, slice]]:
        for start, block in _of_size(x, 0, x.shape[0], size):
            block = block.tocoo()
            yield (
                self._table(block, block.row + start, block.col),
                slice(start, start + block.shape[0]),
            )

    def _get_chunk_impl(self, obs_slice: slice, var_slice: slice) -> pa.Table:
        x = self._source.x
        cells, genes = (
            np.sort(np.arange(n)[part])
            for n, part in zip(x.shape, (obs_slice, var_slice), strict=True)
        )
        start, end = (cells[0], cells[-1] + 1) if len(cells) else (0, 0)
        block = sparse.csr_matrix((0, x.shape[1]), dtype=x.note["dtype"])
        for _, block in _of_size(x, int(start), int(end), max(1, int(end - start))):
            block = block[cells - start]
        block = block[:, genes].tocoo()
        return self._table(block, cells[block.row], genes[block.col])

    def _table(self, block: sparse.coo_matrix, cells: np.ndarray, genes: np.ndarray) -> pa.Table:
        gene_type = np.uint16 if self.n_vars <= 1 << 16 else np.uint32
        return pa.table(
            {
                "cell_integer_id": cells.astype(np.uint32),
                "gene_integer_id": genes.astype(gene_type),
                "value": self._typed(block.data),
            }
        )

    def _typed(self, values: np.ndarray) -> np.ndarray:
        kind = self._source.x.note["dtype"] if self.value_type == "auto" else self.value_type
        with np.errstate(invalid="ignore"):
            typed = values.astype(kind)
        if np.dtype(kind).kind in "iu" and (typed != values).any():
            raise SlafError(
                f"`{self.file_path}` holds {values[typed != values][0]}, which is no {kind}. "
                'Say `value_type="float32"` or "auto".'
            )
        return typed


class ChunkedH5ADReader(_SourceReader):
    """An h5ad file of any version of anndata.

    Parameters
    ----------
    filename
        The file.
    chunk_size
        Accepted for compatibility with slafdb; :meth:`iter_chunks` has its own
        parameter.
    value_type
        The dtype of `value`: "uint16", "int32", "int64", "float32", "float64", or
        "auto" for the file's. A value that an integer type cannot hold raises an error;
        a shorter float type rounds.
    """

    _format = "h5ad"

    def __init__(self, filename: str, chunk_size: int = 25000, value_type: str = "uint16"):
        super().__init__(filename, value_type)
        self.chunk_size = chunk_size

    def get_gene_expression(
        self, gene_names: list, chunk_size: int = 1000
    ) -> Iterator[pd.DataFrame]:
        """Cells × the named genes, dense and in the file's dtype, `chunk_size` cells at
        a time. Unknown genes are left out, with a warning."""
        x, names = self._source.x, pd.Index(self.var_names)
        known = [gene for gene in gene_names if gene in names]
        for gene in gene_names:
            if gene not in names:
                warnings.warn(f"Gene {gene} not found in dataset", stacklevel=2)
        if not known:
            return
        columns, cells = names.get_indexer(known), self.obs_names
        for start, block in _of_size(x, 0, x.shape[0], chunk_size):
            yield pd.DataFrame(
                block[:, columns].toarray().astype(x.note["dtype"], copy=False),
                index=cells[start : start + block.shape[0]],
                columns=known,
            )


class Chunked10xMTXReader(_SourceReader):
    """A 10x folder with a matrix.mtx. Genes are named by their symbols, made unique.
    `value_type` as in :class:`ChunkedH5ADReader`."""

    _format = "10x_mtx"

    def __init__(self, mtx_dir: str, value_type: str = "uint16"):
        super().__init__(mtx_dir, value_type)
        self.mtx_dir = mtx_dir


class ChunkedTileDBReader(_SourceReader):
    """A layer of a measurement in a TileDB-SOMA experiment. `value_type` as in
    :class:`ChunkedH5ADReader`."""

    _format = "tiledb"

    def __init__(
        self,
        tiledb_path: str,
        collection_name: str = "RNA",
        value_type: str = "auto",
        layer_name: str = "data",
    ):
        super().__init__(tiledb_path, value_type)
        self.collection_name, self.layer_name = collection_name, layer_name

    def _options(self) -> dict[str, str]:
        return {"measurement": self.collection_name, "layer": self.layer_name}


class Chunked10xH5Reader(_SourceReader):
    """An HDF5 file of 10x, of any version, or an h5ad file that ends in .h5.
    `value_type` as in :class:`ChunkedH5ADReader`."""

    def __init__(self, h5_path: str, value_type: str = "uint16"):
        super().__init__(h5_path, value_type)
        self.h5_path = h5_path


def create_chunked_reader(
    file_path: str,
    chunk_size: int = 25000,
    value_type: str = "uint16",
    collection_name: str = "RNA",
    layer_name: str = "data",
) -> BaseChunkedReader:
    """The reader for an input, by its format. For TileDB-SOMA experiments, the default
    `value_type` "uint16" leaves values in their type.

    Raises
    ------
    SlafError
        Its format cannot be read in chunks.
    """
    kind = detect_format(file_path)
    if kind == "h5ad":
        return ChunkedH5ADReader(file_path, chunk_size=chunk_size, value_type=value_type)
    if kind == "10x_mtx":
        return Chunked10xMTXReader(file_path, value_type=value_type)
    if kind == "10x_h5":
        return Chunked10xH5Reader(file_path, value_type=value_type)
    if kind == "tiledb":
        return ChunkedTileDBReader(
            file_path,
            collection_name=collection_name,
            value_type="auto" if value_type == "uint16" else value_type,
            layer_name=layer_name,
        )
    if kind == "slaf":
        raise SlafError(f"`{file_path}` is a dataset of SLAF already: open it as `SLAFArray`.")
    # For formats that slafdb does not read.
    return _SourceReader(file_path, "auto" if value_type == "uint16" else value_type)


def _of_size(x: Matrix, start: int, end: int, size: int) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Iterates over rows `start` to `end`, `size` at a time, with each first row."""
    held: list[sparse.csr_matrix] = []
    count = 0
    at = start
    if start >= end:
        return
    for indptr, indices, data in x.blocks(start):
        shape = (len(indptr) - 1, x.shape[1])
        block = sparse.csr_matrix((data, indices, indptr - indptr[0]), shape=shape)
        while block.shape[0] and at + count < end:
            taken = min(size - count, block.shape[0], end - at - count)
            held.append(block[:taken])
            block, count = block[taken:], count + taken
            if count == size or at + count == end:
                yield at, held[0] if len(held) == 1 else sparse.vstack(held, format="csr")
                held, at, count = [], at + count, 0
        if at >= end:
            return
