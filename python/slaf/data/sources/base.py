"""What a conversion reads: rows of X in blocks, and the rest as an AnnData."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import SlafError

if TYPE_CHECKING:
    import anndata

#: Stored values of a block, about: what is sorted at once fits a core's cache.
BLOCK_VALUES = 1 << 19

#: indptr (int64; differences count), indices (int32 or int64, ascending in a
#: row) and data (a real dtype) of consecutive rows.
Block = tuple[np.ndarray, np.ndarray, np.ndarray]


@runtime_checkable
class Matrix(Protocol):
    """A matrix of cells × genes that is read once, from front to back."""

    shape: tuple[int, int]
    #: `dtype`, by numpy's name, and `encoding`: csr, csc, dense, coo or absent.
    note: dict[str, Any]
    #: Stored values, where that is known without reading them.
    nnz: int | None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Blocks of whole rows, from row `start` on."""


class Column(Protocol):
    """A column of a frame, in its file."""

    def __len__(self) -> int: ...

    def rows(self, start: int, end: int) -> pd.Series: ...


class Columns(Protocol):
    """A frame in its file."""

    index_name: str | None

    def ids(self) -> pd.Series | Column: ...

    def items(self) -> Iterator[tuple[str, pd.Series | Column]]: ...


def frame_of(columns: pd.DataFrame | Columns) -> pd.DataFrame:
    """All columns in memory."""
    if isinstance(columns, pd.DataFrame):
        return columns
    frame = pd.DataFrame({name: _series_of(column) for name, column in columns.items()})
    frame.index = index_of(columns)
    return frame


def index_of(columns: pd.DataFrame | Columns) -> pd.Index:
    if isinstance(columns, pd.DataFrame):
        return columns.index
    return pd.Index(_series_of(columns.ids()), name=columns.index_name)


def _series_of(column: pd.Series | Column) -> pd.Series:
    return column if isinstance(column, pd.Series) else column.rows(0, len(column))


@dataclass
class Parts:
    """What :class:`anndata.AnnData` calls by the same names. What may be large
    can stay where it is until it is written: obs as :class:`Columns`, an obsm
    as anything that slices to rows, layers, obsp and varp as :class:`Matrix`."""

    obs: pd.DataFrame | Columns
    var: pd.DataFrame | Columns
    obsm: Mapping[str, Any] = field(default_factory=dict)
    varm: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Any] = field(default_factory=dict)
    obsp: Mapping[str, Any] = field(default_factory=dict)
    varp: Mapping[str, Any] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Source:
    """An input of any format."""

    name: str
    x: Matrix
    #: obs, var, obsm, varm, layers, obsp, varp and uns, without X.
    metadata: Callable[[], anndata.AnnData]
    #: The same, to be read as it is written; None: nothing is worth it.
    parts: Callable[[], Parts] | None = None
    #: Changes with the input. Without one a conversion cannot be resumed.
    fingerprint: str | None = None
    #: Whether the input claims to hold counts.
    counts: bool = False
    raw: Source | None = None
    close: Callable[[], None] = lambda: None

    def rest(self) -> Parts | anndata.AnnData:
        """Everything but X and raw, where it is if that is possible."""
        return self.metadata() if self.parts is None else self.parts()


class SparseRows:
    """A matrix in memory, or one of anndata's backed ones, by rows."""

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

    def blocks(self, start: int = 0) -> Iterator[Block]:
        height, width = self.shape
        a_row = width if self.nnz is None else self.nnz // max(1, height)
        step = max(1, BLOCK_VALUES // max(1, a_row))
        for row in range(start, height, step):
            block = self.x[row : min(row + step, height)]
            if not sparse.issparse(block):
                block = np.atleast_2d(np.asarray(block))
            block = sparse.csr_matrix(block)
            if not block.has_sorted_indices:
                block = block.sorted_indices()
            yield block.indptr.astype(np.int64), block.indices, plain(block.data)


def plain(data: np.ndarray) -> np.ndarray:
    """`data` in one of the dtypes that the engine takes, losing nothing."""
    if data.dtype in (np.uint16, np.int32, np.int64, np.float32, np.float64):
        return np.ascontiguousarray(data)
    if data.dtype.kind not in "biuf":
        raise SlafError(f"X holds {data.dtype}, and only real numbers can be stored.")
    if data.dtype.kind == "f":
        return data.astype(np.float32 if data.dtype.itemsize <= 4 else np.float64)
    if data.dtype.kind == "u" and data.dtype.itemsize == 8:
        if data.size and data.max() > np.iinfo(np.int64).max:
            raise SlafError("X holds integers beyond 2^63, which cannot be stored.")
        return data.astype(np.int64)
    return data.astype(np.int64 if data.dtype.itemsize >= 4 else np.int32)


def in_file(value: Any) -> bool:
    """Whether it is an HDF5 dataset."""
    return type(value).__module__.startswith("h5py")


def loaded(value: Any) -> Any:
    """The array of an HDF5 dataset; anything else as it is."""
    return value[()] if in_file(value) else value


def fingerprint(*paths: str | Path) -> str:
    """Of files by name, size and time of change."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        stat = path.stat()
        digest.update(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()
