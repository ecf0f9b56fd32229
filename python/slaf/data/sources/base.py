"""The interface of a source: X in blocks of rows, and everything else as an AnnData."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.data.sources.stacked_rows import RowsInFile
from slaf.ground.dtypes import engine_values as plain
from slaf.ground.metadata.frames import Columns, frame_of

if TYPE_CHECKING:
    import anndata

#: Approximate number of stored values per block, so that a block fits into a core's
#: cache.
BLOCK_VALUES = 1 << 19

#: indptr (int64; only differences matter), indices (int32 or int64, ascending within a
#: row) and data (a real dtype) of consecutive rows.
Block = tuple[np.ndarray, np.ndarray, np.ndarray]


@runtime_checkable
class Matrix(Protocol):
    """A matrix of cells × genes that is read once, from beginning to end."""

    shape: tuple[int, int]
    #: `dtype`, by numpy's name, and `encoding`: csr, csc, dense, coo or absent.
    note: dict[str, Any]
    #: Upper limit on the number of stored values, if it is known without reading them.
    nnz: int | None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Iterates over blocks of whole rows, beginning with row `start`."""


@dataclass
class Parts:
    """The sections of an AnnData, under the same names. Large entries can stay in their
    file until they are written: obs as :class:`Columns`, an obsm as anything with row
    slicing, layers, obsp and varp as :class:`Matrix`."""

    obs: pd.DataFrame | Columns
    var: pd.DataFrame | Columns
    obsm: Mapping[str, Any] = field(default_factory=dict)
    varm: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Any] = field(default_factory=dict)
    obsp: Mapping[str, Any] = field(default_factory=dict)
    varp: Mapping[str, Any] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)


def in_memory(parts: Parts) -> anndata.AnnData:
    """All parts as an AnnData without X."""
    import anndata

    return anndata.AnnData(
        obs=frame_of(parts.obs),
        var=frame_of(parts.var),
        obsm={key: loaded(value) for key, value in parts.obsm.items()},
        varm={key: loaded(value) for key, value in parts.varm.items()},
        layers={key: whole(value) for key, value in parts.layers.items()},
        obsp={key: whole(value) for key, value in parts.obsp.items()},
        varp={key: whole(value) for key, value in parts.varp.items()},
        uns=dict(parts.uns),
    )


def whole(value: Any) -> Any:
    """A matrix in memory; any other value is returned as it is."""
    if not isinstance(value, Matrix):
        return value
    if isinstance(value, SparseRows):
        return loaded(value.x)
    blocks = list(value.blocks())
    rows = [sparse.csr_matrix((d, i, p - p[0]), (len(p) - 1, value.shape[1])) for p, i, d in blocks]
    stacked = sparse.vstack(rows, format="csr") if rows else sparse.csr_matrix(value.shape)
    return stacked.asformat(value.note["encoding"]).astype(value.note["dtype"])


@dataclass
class Source:
    """An input of any format."""

    name: str
    x: Matrix
    #: obs, var, obsm, varm, layers, obsp, varp and uns, without X.
    metadata: Callable[[], anndata.AnnData]
    #: The same, to be read while they are written; None if nothing is large.
    parts: Callable[[], Parts] | None = None
    #: Changes when the input changes. Without it, a conversion cannot be continued.
    fingerprint: str | None = None
    #: Whether the input claims to hold counts.
    counts: bool = False
    raw: Source | None = None
    close: Callable[[], None] = lambda: None
    #: Raises errors that are known before anything large is read.
    check: Callable[[], None] = lambda: None
    #: Names of the entries that can be left out, such as `obsm/X_pca`.
    entries: Callable[[], list[str]] = list
    #: Like `parts`, but for some cells, if reading all of them would take long.
    first: Callable[[], Parts | anndata.AnnData] | None = None
    #: The inputs that were joined, if any.
    inputs: list[Source] = field(default_factory=list)
    #: The column of obs that records the input of each cell.
    source_column: str | None = None

    def rest(self) -> Parts | anndata.AnnData:
        """Everything except X and raw, in the file where possible."""
        return self.metadata() if self.parts is None else self.parts()


class SparseRows:
    """A matrix in memory, or a backed one of anndata, by rows."""

    def __init__(self, x: Any, shape: tuple[int, int], note: dict[str, Any] | None = None):
        self.shape = shape
        if note is None:
            encoding = "dense" if isinstance(x, np.ndarray) else getattr(x, "format", "dense")
            note = {"dtype": np.dtype(x.dtype).name, "encoding": encoding}
        if np.dtype(note["dtype"]).kind not in "biuf":
            raise SlafError(f"X holds {note['dtype']}, and only real numbers can be stored.")
        self.note = note
        self.x = x
        self.nnz = int(x.nnz) if sparse.issparse(x) else None

    def block_ends(self, start: int = 0) -> Iterator[int]:
        """The rows that blocks from row `start` on end before."""
        height, width = self.shape
        a_row = width if self.nnz is None else self.nnz // max(1, height)
        step = max(1, BLOCK_VALUES // max(1, a_row))
        for row in range(start, height, step):
            yield min(row + step, height)

    def blocks(self, start: int = 0) -> Iterator[Block]:
        row = start
        for end in self.block_ends(start):
            block = self.x[row:end]
            row = end
            if not sparse.issparse(block):
                block = plain(np.atleast_2d(np.asarray(block)))
            block = sparse.csr_matrix(block)
            rows = block.indptr.astype(np.int64), block.indices, plain(block.data)
            yield canonical(*rows, self.note["dtype"])


class Window(RowsInFile):
    """A zarr array that is read from beginning to end: each chunk is decoded about
    once, even for small ranges."""

    def __init__(self, array: Any):
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self._step = max(1, (getattr(array, "shards", None) or array.chunks)[0])
        self._first, self._held = 0, None

    def __getitem__(self, rows: slice | tuple[()]) -> np.ndarray:
        if rows == ():
            return self._array[...]
        start, end, _ = rows.indices(self.shape[0])
        if self._held is None or not (
            self._first <= start and end <= self._first + len(self._held)
        ):
            self._first = start - start % self._step
            last = min(self.shape[0], -(-end // self._step) * self._step)
            self._held = self._array[self._first : last]
        return self._held[start - self._first : end - self._first]


class Nothing:
    """The X of an input without one."""

    def __init__(self, shape: tuple[int, int]):
        self.shape = shape
        self.note = {"dtype": "float32", "encoding": "absent", "absent": True}
        self.nnz = 0

    def blocks(self, start: int = 0) -> Iterator[Block]:
        rows = self.shape[0] - start
        if rows > 0:
            yield np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)


def canonical(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, dtype: str | None = None
) -> Block:
    """The block with ascending columns in each row. Repeated entries are summed, as in
    scipy; `dtype` is the source's dtype, which must hold the sum."""
    if indices.dtype not in (np.int32, np.int64):
        indices = indices.astype(np.int64)
    descents = np.flatnonzero(indices[1:] <= indices[:-1]) + 1
    starts = indptr - indptr[0]
    # Columns can descend from one row to the next, but not within a row.
    if not len(descents) or np.isin(descents, starts).all():
        return indptr, indices, data
    counts = np.diff(starts)
    if (counts < 0).any() or starts[-1] != len(indices):
        return indptr, indices, data  # damaged: the writer reports it
    width = int(indices.max()) + 1
    rows = sparse.csr_matrix((data, indices, starts), shape=(len(counts), width), copy=True)
    rows.sort_indices()
    indices, data = rows.indices, rows.data
    row = np.repeat(np.arange(len(counts)), counts)
    first = np.ones(len(row), bool)
    first[1:] = (row[1:] != row[:-1]) | (indices[1:] != indices[:-1])
    if first.all():
        return indptr, indices, data
    at = np.flatnonzero(first)
    ends = np.concatenate(([0], np.cumsum(first)))
    return ends[starts], indices[at], _sums(data, at, np.dtype(dtype or data.dtype))


def _sums(data: np.ndarray, at: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The sums of the groups that begin at the positions `at`."""
    if dtype.kind == "b":
        return np.logical_or.reduceat(data, at).astype(data.dtype)
    about = np.add.reduceat(data, at, dtype=np.float64)
    if data.dtype.kind == "f" and dtype.kind == "f":
        with np.errstate(over="ignore"):
            sums = about.astype(dtype)
        wrong = np.isinf(sums) & np.isfinite(about)
    elif data.dtype.kind == "f":  # integers above 2^63, all of which float64 can hold
        sums = about
        wrong = (np.diff(at, append=len(data)) > 1) & (np.abs(about) >= 2.0**53)
    else:
        sums = np.add.reduceat(data, at, dtype=np.int64)
        limits = np.iinfo(dtype if dtype.kind in "iu" else data.dtype)
        wrong = (np.abs(about) >= 2.0**63) | (sums < limits.min)
        wrong |= sums > min(limits.max, np.iinfo(np.int64).max)
    if wrong.any():
        raise SlafError(
            f"A place of the matrix is stored more than once, and its values add up to "
            f"{about[wrong][0]:.0f}, which does not fit {dtype}. Write the matrix in a wider "
            "type, or remove what is there twice."
        )
    return sums.astype(data.dtype)


def in_file(value: Any) -> bool:
    """Whether it is an array in a file."""
    return isinstance(value, RowsInFile) or type(value).__module__.startswith("h5py")


def loaded(value: Any) -> Any:
    """Reads an array from its file; any other value is returned as it is."""
    return value[()] if in_file(value) else value


def fingerprint(*paths: str | Path) -> str:
    """The fingerprint of files: names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        stat = path.stat()
        digest.update(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()
