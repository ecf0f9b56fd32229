"""Reads matrices of anndata's files, in HDF5 or zarr, in blocks of rows.

HDF5 tells where the chunks are in a file, and the engine decodes them on all cores.
Chunks that it cannot decode are read through HDF5 or zarr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.data.sources.anndata_encodings import attribute, encoding_of, is_group, is_h5, place_of
from slaf.data.sources.base import (
    BLOCK_VALUES,
    Block,
    Matrix,
    SparseRows,
    Window,
    canonical,
    plain,
)

if TYPE_CHECKING:
    import h5py

#: HDF5's ids of the filters that the engine can decode.
_FILTERS = {1: "gzip", 2: "shuffle", 32015: "zstd"}


class H5Rows:
    """The CSR matrix of 1-d arrays `indptr`, `indices` and `data` in a group."""

    def __init__(self, root: Any, group: str, shape: tuple[int, int], note: dict[str, Any]):
        self.shape = shape
        self.note = note
        self._place, self._name = place_of(root), group
        node = root[group]
        for name in ("indptr", "indices", "data"):
            self._check_array(name, node.get(name))
        self._indptr = self._whole("indptr", node["indptr"][:]).astype(np.int64)
        self._check_offsets()
        #: Whether values are stored as they are, so that reading them is only copying.
        self.is_plain = all(_has_no_filters(node[name]) for name in ("indices", "data"))
        self._indices = _array(node["indices"])
        self._data = _array(node["data"])
        self.nnz = int(self._indptr[-1])
        for name in ("indices", "data"):
            length = node[name].shape[0]
            if length != self.nnz:
                raise self._damaged(name, f"has {length} values where indptr counts {self.nnz}")

    def _check_array(self, name: str, array: Any) -> None:
        if not hasattr(array, "dtype"):
            raise self._damaged(name, "is missing" if array is None else "is a group")
        if array.ndim != 1:
            raise self._damaged(name, f"has {array.ndim} dimensions, and must have 1")
        kinds = "biuf" if name == "data" else "iuf"
        if array.dtype.kind not in kinds:
            raise self._damaged(name, f"holds {array.dtype}, which are not numbers")

    def _check_offsets(self) -> None:
        indptr = self._indptr
        if len(indptr) != self.shape[0] + 1:
            raise self._damaged("indptr", f"has {len(indptr)} entries for {self.shape[0]} rows")
        if indptr[0] != 0:
            raise self._damaged("indptr", f"begins at {indptr[0]}, and not at 0")
        falls = np.flatnonzero(indptr[1:] < indptr[:-1])
        if len(falls):
            at = int(falls[0])
            raise self._damaged("indptr", f"falls from {indptr[at]} to {indptr[at + 1]}")

    def _whole(self, name: str, values: np.ndarray) -> np.ndarray:
        """An array of integers; some tools write them as floats."""
        if values.dtype.kind != "f":
            return values
        wrong = ~(np.isfinite(values) & (values == np.floor(values)))
        if wrong.any():
            raise self._damaged(name, f"holds {values[wrong][0]}, which is not a whole number")
        return values.astype(np.int64)

    def _within(self, start: int, end: int) -> np.ndarray:
        indices, width = self._whole("indices", self._indices(start, end)), self.shape[1]
        if len(indices) and (indices.min() < 0 or indices.max() >= width):
            wrong = indices[(indices < 0) | (indices >= width)][0]
            raise self._damaged("indices", f"holds {wrong}, which is not from 0 to {width - 1}")
        return indices

    def _damaged(self, name: str, how: str) -> SlafError:
        return SlafError(
            f"`{self._place}` is damaged: `{self._name}/{name}` {how}. Copy the file again, or "
            "write it again."
        )

    def block_ends(self, start: int = 0) -> Iterator[int]:
        """The rows that blocks from row `start` on end before."""
        height, at = self.shape[0], start
        while at < height:
            most = self._indptr[at] + BLOCK_VALUES
            end = int(np.searchsorted(self._indptr, most, side="right")) - 1
            at = min(max(end, at + 1), height)
            yield at

    def blocks(self, start: int = 0) -> Iterator[Block]:
        at = start
        for end in self.block_ends(start):
            indptr = self._indptr[at : end + 1]
            span = int(indptr[0]), int(indptr[-1])
            yield canonical(indptr, self._within(*span), self._data(*span), self.note["dtype"])
            at = end


class H5Transposed:
    """The rows of a CSC matrix in a group, in limited memory."""

    def __init__(self, root: Any, group: str, shape: tuple[int, int], note: dict[str, Any]):
        self._columns = H5Rows(root, group, (shape[1], shape[0]), note)
        self.shape, self.note, self.nnz = shape, note, self._columns.nnz

    def blocks(self, start: int = 0) -> Iterator[Block]:
        transposer = None
        for indptr, rows, data in self._columns.blocks():
            if transposer is None:
                transposer = _slaf.Transposer(self.shape[0], data.dtype.name)
            transposer.push(indptr, rows, data)
        if transposer is None:
            transposer = _slaf.Transposer(self.shape[0], "float32")
        at = start
        while (block := transposer.rows_from(at)) is not None:
            indptr, indices, data = block
            yield indptr.astype(np.int64), indices, data
            at += len(indptr) - 1


def matrix(root: Any, name: str, shape: tuple[int, int] | None = None) -> Matrix:
    """The matrix `name` of a group, dense or sparse. `shape` is used if the file does
    not record it."""
    node = root[name]
    values = node.get("data") if is_group(node) else node
    if not hasattr(values, "dtype"):
        raise SlafError(
            f"`{place_of(root)}`: `{name}` is not a matrix in anndata's format. {_without(name)}"
        )
    if values.dtype.kind not in "biuf":
        raise SlafError(
            f"`{place_of(root)}`: `{name}` holds {values.dtype}, and only real numbers can be "
            f"stored. {_without(name)}"
        )
    if not is_group(node):
        in_chunks = node if is_h5(node) else Window(node)
        return SparseRows(in_chunks, tuple(map(int, node.shape)))
    encoding = encoding_of(node)[0] or attribute(node, "h5sparse_format", "csr_matrix")
    shape = attribute(node, "shape", attribute(node, "h5sparse_shape", shape))
    shape = tuple(int(n) for n in np.ravel(shape)) if shape is not None else ()
    if len(shape) != 2 or min(shape) < 0:
        raise SlafError(
            f"`{place_of(root)}` is damaged: `{name}` does not say its shape. {_without(name)}"
        )
    by_column = encoding.startswith("csc")
    note = {"dtype": values.dtype.name, "encoding": "csc" if by_column else "csr"}
    return (H5Transposed if by_column else H5Rows)(root, name, shape, note)


def _without(name: str) -> str:
    return f'Write it again, or leave it out (`skip=["{name}"]`, `--skip {name}`).'


def _has_no_filters(dataset: Any) -> bool:
    return is_h5(dataset) and dataset.id.get_create_plist().get_nfilters() == 0


def _array(dataset: Any) -> Callable[[int, int], np.ndarray]:
    """A function from a range to the values of a 1-d dataset."""
    if not is_h5(dataset):
        window = Window(dataset)
        return lambda start, end: plain(window[start:end])
    places = _places(dataset)
    if places is None:
        return lambda start, end: plain(dataset[start:end])
    # The engine returns a wider type if it does not have this one.
    return _slaf.Chunks(*places).read


def _places(dataset: h5py.Dataset) -> tuple | None:
    """The positions of the chunks, if the engine can read them itself."""
    file, kind = dataset.file, dataset.dtype
    readable = kind.newbyteorder("=").name if kind.byteorder in "<=|" and kind.kind in "iuf" else ""
    if readable in ("", "float16", "uint64") or len(dataset.shape) != 1 or not len(dataset):
        return None
    if dataset.is_virtual or dataset.external or file.driver not in ("sec2", "stdio"):
        return None
    if file.id.get_create_plist().get_userblock():
        # Versions of HDF5 disagree on whether offsets include it.
        return None
    plist = dataset.id.get_create_plist()
    numbers = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if any(number not in _FILTERS for number in numbers):
        return None
    filters = [_FILTERS[number] for number in numbers]
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            return None
        chunks = [(offset, dataset.nbytes, 0)]
        return file.filename, readable, len(dataset), len(dataset), filters, chunks
    (chunk,) = dataset.chunks
    count = -(-len(dataset) // chunk)
    found: dict[int, tuple[int, int, int]] = {}

    def note(info: h5py.h5d.StoreInfo) -> None:
        place = info.byte_offset, info.size, info.filter_mask
        found[info.chunk_offset[0] // chunk] = place

    dataset.id.chunk_iter(note)
    if len(found) != count:
        # A chunk that was never written contains the fill value.
        return None
    chunks = [found[i] for i in range(count)]
    return file.filename, readable, len(dataset), chunk, filters, chunks
