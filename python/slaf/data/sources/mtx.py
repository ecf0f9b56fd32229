"""Matrix Market files of genes × cells or of cells × genes.

Such a file is text, and much larger than its matrix, so it is streamed: only one batch
of entries is in memory at a time. Repeated entries are summed, as scipy does."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv
from scipy import sparse

from slaf._slaf import SlafError
from slaf.data.sources.base import Block, SparseRows, canonical, whole
from slaf.data.sources.tenx import NOTE, brief, damaged

#: pyarrow reads a few batches ahead. For 30 million entries, batches of 16 MiB took 3.3
#: s and 740 MB, and batches of 4 MiB 2.8 s and 300 MB.
_BATCH_BYTES = 4 << 20
#: Lines per batch for files that pyarrow cannot read.
_BATCH_LINES = 1 << 19

_KINDS = ("integer", "unsigned-integer", "real", "pattern")

_Entries = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Names:
    """A file that names the cells or genes of a matrix, and their number."""

    path: Path
    count: int


@dataclass(frozen=True)
class Header:
    """The information above the entries of a file."""

    kind: str
    rows: int
    columns: int
    entries: int
    #: Number of lines above the first entry.
    skip: int
    #: The numbers of the first entry.
    first: tuple[str, ...]
    tabs: bool


def zipped(path: Path) -> bool:
    """Whether a file is gzip, whatever its name."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_header(path: Path) -> Header:
    """The lines above the entries of a file."""
    try:
        with (gzip.open if zipped(path) else open)(path, "rb") as file:
            kind = _kind(path, file.readline(4096))
            skip, line = 2, file.readline()
            while line.startswith(b"%") or (line and not line.strip()):
                skip, line = skip + 1, file.readline()
            entry = file.readline()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from None
    try:
        numbers = [float(number) for number in line.split()]  # R writes 1e+05
        dims = [int(number) for number in numbers]
    except (ValueError, OverflowError):
        dims = numbers = []
    if len(dims) != 3 or dims != numbers or min(dims) < 0:
        raise SlafError(
            f"Line {skip} of `{path}` should say the numbers of rows, columns and entries, and "
            "does not. Copy the file again."
        )
    first = tuple(entry.decode(errors="replace").split())
    rows, columns, entries = dims
    return Header(kind, rows, columns, entries, skip, first, b"\t" in entry)


def _kind(path: Path, line: bytes) -> str:
    first = line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").lower().split()
    if (
        first[:3] != ["%%matrixmarket", "matrix", "coordinate"]
        or len(first) != 5
        or first[3] not in _KINDS
        or first[4] != "general"
    ):
        raise SlafError(
            f"`{path}` does not begin with `%%MatrixMarket matrix coordinate integer general` "
            "(or `real` or `pattern`): it is no matrix of genes and cells."
        )
    return first[3]


class MtxRows:
    """The cells of a file. The numbers of cells and genes show which axis is which; if
    they are equal, `cells_first` says it.

    If an entry has several numbers (`values`), number `take` is read.
    """

    def __init__(
        self,
        path: Path,
        cells: Names,
        genes: Names,
        *,
        cells_first: bool = False,
        values: int = 1,
        take: int = 0,
    ):
        self.path, self.note = path, dict(NOTE)
        self.shape = cells.count, genes.count
        self._header = header = read_header(path)
        sides = (header.rows, header.columns)
        self._cells_first = sides == self.shape and (cells_first or sides != self.shape[::-1])
        if not self._cells_first:
            _check_sizes(path, header, cells, genes, cells_first)
        self._values, self._take = values, take
        self.nnz: int | None = header.entries

    def _batches(self) -> Iterator[_Entries]:
        """Iterates over batches of cells and genes, from 0, and values, in the order of
        the file."""
        seen = 0
        try:
            try:
                for columns in self._quick():
                    yield self._entries(columns, seen)
                    seen += len(columns[0])
            except pa.ArrowInvalid:
                # Several blanks, comments, or numbers in R's format.
                given, seen = seen, 0
                for columns in self._careful():
                    past = min(max(given - seen, 0), len(columns[0]))
                    yield self._entries([column[past:] for column in columns], seen + past)
                    seen += len(columns[0])
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(self.path, error) from None
        except (pa.ArrowInvalid, ValueError) as error:
            if isinstance(error, SlafError):
                raise
            raise SlafError(
                f"`{self.path}` has a line that is not a gene, a cell and a number, after its "
                f"first {seen} entries ({brief(error)}). Copy the file again."
            ) from None
        if seen != self.nnz:
            fewer = "fewer: it is cut short" if seen < self.nnz else "more"
            raise SlafError(
                f"`{self.path}` has {self.nnz} entries by its header, and {seen} lines of them, "
                f"{fewer}. Copy the file again."
            )

    @property
    def _columns(self) -> list[str]:
        values = 0 if self._header.kind == "pattern" else self._values
        return ["row", "column", *(f"value {i + 1}" for i in range(values))]

    def _quick(self) -> Iterator[list[np.ndarray]]:
        """Reads the columns of a file with one blank or tab between any two."""
        names = self._columns
        value = pa.float64() if self._header.kind == "real" else pa.int64()
        types = {name: value if name.startswith("value") else pa.int64() for name in names}
        with pa.OSFile(str(self.path)) as file:
            stream = pa.CompressedInputStream(file, "gzip") if zipped(self.path) else file
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(
                    column_names=names, skip_rows=self._header.skip, block_size=_BATCH_BYTES
                ),
                csv.ParseOptions(delimiter="\t" if self._header.tabs else " ", quote_char=False),
                # Without words for missing values, `nan` is read as a number.
                csv.ConvertOptions(column_types=types, null_values=[]),
            )
            for batch in reader:
                yield [column.to_numpy() for column in batch.columns]

    def _careful(self) -> Iterator[list[np.ndarray]]:
        """The same for any blanks, empty lines and comments; slower."""
        names = self._columns
        reader = pd.read_csv(
            self.path,
            sep=r"\s+",
            header=None,
            names=[*names, "more"],
            index_col=False,
            skiprows=self._header.skip,
            comment="%",
            quoting=3,
            dtype={name: np.float64 for name in names},
            float_precision="round_trip",
            chunksize=_BATCH_LINES,
            compression="gzip" if zipped(self.path) else None,
        )
        with reader:
            for chunk in reader:
                if chunk["more"].notna().any():
                    raise ValueError(f"more than {len(names)} numbers in a line")
                columns = [chunk[name].to_numpy() for name in names]
                integers = columns if self._header.kind != "real" else columns[:2]
                for column in integers:
                    if not (np.abs(column) < 2**53).all() or (column % 1).any():
                        raise ValueError("a number is missing or has a fraction")
                if np.isnan(columns[-1]).any():
                    raise ValueError("a number is missing")
                yield [c.astype(np.int64) for c in integers] + columns[len(integers) :]

    def _entries(self, columns: list[np.ndarray], seen: int) -> _Entries:
        row, column = columns[0] - 1, columns[1] - 1
        cell, gene = (row, column) if self._cells_first else (column, row)
        if len(columns) == 2:
            value = np.ones(len(row), np.int32)
        else:
            value = _narrow(columns[2 + self._take])
        for what, index, bound in (("cell", cell, self.shape[0]), ("gene", gene, self.shape[1])):
            bad = (index < 0) | (index >= bound)
            if bad.any():
                entry = int(bad.argmax())
                raise SlafError(
                    f"Entry {seen + entry + 1} of `{self.path}` is of {what} "
                    f"{index[entry] + 1}, and there are {what}s 1 to {bound}. "
                    "Copy the folder again."
                )
        if self._values > 1:  # an entry exists if any of its values does
            kept = value != 0
            cell, gene, value = cell[kept], gene[kept], value[kept]
        return cell, gene, value

    def blocks(self, start: int = 0) -> Iterator[Block]:
        row = read = 0  # rows so far, and their entries
        try:
            for indptr, indices, data in self._ordered_blocks():
                height = len(indptr) - 1
                past = min(max(start - row, 0), height)
                row, read = row + height, read + len(data)
                if past < height:
                    low = indptr[past]
                    yield indptr[past:] - low, indices[low:], data[low:]
        except _Unordered:
            yield from self._all_in_memory(max(row, start), row, read)

    def _ordered_blocks(self) -> Iterator[Block]:
        """Blocks of a file that is sorted by cell, as Cell Ranger's are."""
        row, kept = 0, None
        for part in self._batches():
            if not len(part[0]):
                continue
            if kept is not None:
                part = tuple(np.concatenate(pair) for pair in zip(kept, part, strict=True))
            cell, gene, value = part
            if (cell[1:] < cell[:-1]).any():
                raise _Unordered
            # The last cell may continue in the next batch.
            last = int(cell[-1])
            cut = int(np.searchsorted(cell, last))
            if cut:
                yield self._block(cell[:cut], gene[:cut], value[:cut], row, last)
                row = last
            kept = (cell[cut:], gene[cut:], value[cut:])
        if kept is None:
            kept = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))
        if row < self.shape[0]:
            yield self._block(*kept, row, self.shape[0])

    def _block(
        self, cell: np.ndarray, gene: np.ndarray, value: np.ndarray, row: int, end: int
    ) -> Block:
        indptr = np.searchsorted(cell, np.arange(row, end + 1)).astype(np.int64)
        return _summed(indptr, gene, value)

    def _all_in_memory(self, start: int, given: int, read: int) -> Iterator[Block]:
        """The blocks from `start` on, for a file in another order.

        `given` rows with `read` entries have already been returned as complete.
        """
        parts = zip(*self._batches(), strict=True)
        cell, gene, value = (np.concatenate(arrays) for arrays in parts)
        rows = sparse.csr_matrix((_wide(value), (cell, gene)), shape=self.shape)
        del cell, gene, value
        rows.sum_duplicates()
        if rows.indptr[given] != read:
            raise SlafError(
                f"The entries of `{self.path}` are sorted by cell at first, but not later. "
                "Sort them by cell."
            )
        rows.data = _narrow(rows.data)
        yield from SparseRows(rows, self.shape, self.note).blocks(start)


class _Unordered(Exception):
    """Raised if the entries of a file are not sorted by cell."""


def _check_sizes(path: Path, header: Header, cells: Names, genes: Names, cells_first: bool) -> None:
    says = (header.rows, header.columns)[:: 1 if cells_first else -1]
    for names, what, count in ((genes, "genes", says[1]), (cells, "cells", says[0])):
        if names.count != count:
            raise SlafError(
                f"`{path}` is a matrix of {count} {what} by its header, and "
                f"`{names.path.name}` beside it has {names.count}: the files are of different "
                "runs or cut short. Copy the whole folder again."
            )


def _narrow(value: np.ndarray) -> np.ndarray:
    if value.dtype == np.float64:
        with np.errstate(over="ignore"):
            narrow = value.astype(np.float32)
        return narrow if (narrow == value).all() else value
    if value.dtype == np.int64 and value.size and np.abs(value).max() < 2**31:
        return value.astype(np.int32)
    return value


def _wide(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64 if value.dtype.kind == "f" else np.int64)


def _summed(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> Block:
    """A block with sorted genes and without repeats."""
    indptr, indices, data = canonical(indptr, indices, _wide(data))
    return indptr, indices.astype(np.int32), _narrow(data)


class RowsOf:
    """Some rows of a matrix, by their ascending positions in it."""

    def __init__(self, x: Any, rows: np.ndarray):
        self.x, self.rows, self.note = x, rows, x.note
        self.shape = (len(rows), x.shape[1])
        self.nnz: int | None = None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        if start >= len(self.rows):
            return
        at = int(self.rows[start])
        for indptr, indices, data in self.x.blocks(at):
            end = at + len(indptr) - 1
            low, high = np.searchsorted(self.rows, (at, end))
            here = self.rows[max(low, start) : high] - at
            if len(here):
                part = (data, indices, indptr - indptr[0])
                part = sparse.csr_matrix(part, (end - at, self.shape[1]))[here]
                yield part.indptr.astype(np.int64), part.indices, part.data
            at = end


class ColumnsOf:
    """A matrix whose column `i` becomes column `places[i]` of `width`; -1 leaves it
    out. Columns with the same place are summed."""

    def __init__(self, x: Any, places: np.ndarray, width: int):
        self.x, self.places, self.note = x, places, x.note
        self.shape = (x.shape[0], width)
        self.nnz: int | None = None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for indptr, indices, data in self.x.blocks(start):
            columns = self.places[indices]
            kept = columns >= 0
            behind = np.concatenate(([0], np.cumsum(kept)))[indptr - indptr[0]]
            yield _summed(behind, columns[kept], data[kept])


def taken(x: Any, rows: np.ndarray) -> Any:
    """The named rows of a matrix, in any order."""
    if np.array_equal(rows, np.arange(x.shape[0])):
        return x
    if (np.diff(rows) > 0).all():
        return RowsOf(x, rows)
    return SparseRows(whole(x)[rows], (len(rows), x.shape[1]), x.note)
