"""Folders of 10x Genomics with a matrix.mtx, as scanpy reads them.

A matrix.mtx is text, many times larger than what it says, so it is streamed:
only a batch of its entries is in memory at a time.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv
from scipy import sparse

from slaf import SlafError
from slaf.data.sources.base import Block, Source, SparseRows, fingerprint
from slaf.data.sources.tenx import NOTE, brief, damaged, unique

_MATRIX = ("matrix.mtx.gz", "matrix.mtx")
_CELLS = ("barcodes.tsv.gz", "barcodes.tsv")
_GENES = ("features.tsv.gz", "features.tsv", "genes.tsv", "genes.tsv.gz")

#: pyarrow reads some batches ahead. Of 30 million entries, batches of 16 MiB took
#: 3.3 s and 740 MB, and those of 4 MiB 2.8 s and 300 MB.
_BATCH_BYTES = 4 << 20


def is_tenx_folder(path: str | Path) -> bool:
    """Whether a folder holds, or is missing part of, a 10x matrix."""
    folder = Path(path)
    return folder.is_dir() and any((folder / name).is_file() for name in _MATRIX + _CELLS)


def mtx_source(folder: str | Path, *, var_names: str = "gene_symbols") -> Source:
    """A folder of Cell Ranger 2 (genes.tsv) or 3 and later (features.tsv)."""
    folder = Path(folder)
    if var_names not in ("gene_symbols", "gene_ids"):
        raise SlafError(
            f"Genes cannot be named by `{var_names}`. Say `gene_symbols` or `gene_ids`."
        )
    matrix, cells, genes = (_find(folder, names) for names in (_MATRIX, _CELLS, _GENES))
    barcodes = _table(cells, dtype=str)
    barcodes = pd.Index(barcodes[0].to_numpy() if len(barcodes) else [], dtype=object)
    features = _table(genes)
    if len(features) and len(features.columns) < 2:
        raise SlafError(
            f"`{genes}` has one column, and 10x files have an id and a name of each gene. "
            "Add the names."
        )

    def metadata() -> Any:
        import anndata

        var = _features(features, var_names)
        return anndata.AnnData(obs=pd.DataFrame(index=pd.Index(barcodes)), var=var)

    return Source(
        name=folder.name or folder.resolve().name,
        x=_MtxRows(matrix, cells, genes, (len(barcodes), len(features))),
        metadata=metadata,
        fingerprint=fingerprint(matrix, cells, genes),
        counts=True,
    )


def _find(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(f"`{name}`" for name in names)
    raise SlafError(
        f"`{folder}` lacks a file of a 10x matrix: none of {looked} is there. "
        "Copy the whole folder from Cell Ranger's output."
    )


def _table(path: Path, **options: Any) -> pd.DataFrame:
    try:
        # Genes are called NA and NAN, so no text is a missing value.
        return pd.read_csv(path, header=None, sep="\t", keep_default_na=False, **options)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise damaged(path, error) from None


def _features(features: pd.DataFrame, var_names: str) -> pd.DataFrame:
    if not len(features):
        return pd.DataFrame()
    ids, symbols = features[0], features[1].astype(str)
    if var_names == "gene_symbols":
        var = pd.DataFrame({"gene_ids": ids.to_numpy()}, index=unique(symbols))
    else:
        var = pd.DataFrame({"gene_symbols": symbols.to_numpy()}, index=unique(ids.astype(str)))
    if 2 in features:
        var["feature_types"] = features[2].to_numpy()
    if list(features.columns) == [0, 1, 2, 3, 4, 5]:
        # Chromosome, start and end; an ARC .h5 has them as one text, `interval`.
        place = features[[3, 4, 5]].astype(str)
        interval = place[3] + ":" + place[4] + "-" + place[5]
        var["interval"] = interval.where(place[3] != "", "NA").to_numpy()
    else:
        for column in features.columns[3:]:
            var[f"feature_{column + 1}"] = features[column].to_numpy()
    return var


class _Unordered(Exception):
    """The entries of a matrix.mtx do not go from cell to cell."""


class _MtxRows:
    """The rows of a matrix.mtx of genes × cells."""

    def __init__(self, path: Path, cells: Path, genes: Path, shape: tuple[int, int]):
        self.path, self.shape, self.note = path, shape, dict(NOTE)
        self._skip, dims = self._header()
        for file, has, what, says in (
            (genes, shape[1], "genes", dims[0]),
            (cells, shape[0], "cells", dims[1]),
        ):
            if has != says:
                raise SlafError(
                    f"`{path}` is a matrix of {says} {what} by its header, and `{file.name}` "
                    f"beside it has {has}: the files are of different runs or cut short. "
                    "Copy the whole folder anew."
                )
        self.nnz: int | None = dims[2]

    def _header(self) -> tuple[int, list[int]]:
        """Lines above the entries, and what the last of them says."""
        try:
            with (gzip.open if self.path.suffix == ".gz" else open)(self.path, "rb") as file:
                first = file.readline(4096).decode(errors="replace").lower().split()
                kinds = ("integer", "real", "pattern")
                if (
                    first[:3] != ["%%matrixmarket", "matrix", "coordinate"]
                    or len(first) != 5
                    or first[3] not in kinds
                    or first[4] != "general"
                ):
                    raise SlafError(
                        f"`{self.path}` does not begin with `%%MatrixMarket matrix coordinate "
                        "integer general` (or `real` or `pattern`): it is no matrix of 10x."
                    )
                self._kind = first[3]
                skip, line = 2, file.readline()
                while line.startswith(b"%") or (line and not line.strip()):
                    skip, line = skip + 1, file.readline()
                self._delimiter = "\t" if b"\t" in file.readline() else " "
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(self.path, error) from None
        try:
            dims = [int(number) for number in line.split()]
        except ValueError:
            dims = []
        if len(dims) != 3 or min(dims) < 0:
            raise SlafError(
                f"Line {skip} of `{self.path}` should say the numbers of genes, cells and "
                "entries, and does not. Copy the file anew."
            )
        return skip, dims

    def _batches(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Cells and genes from 0, and values, as they are in the file."""
        names = ["gene", "cell", "value"][: 2 if self._kind == "pattern" else 3]
        types = {"gene": pa.int64(), "cell": pa.int64()}
        types["value"] = pa.int64() if self._kind == "integer" else pa.float64()
        seen = 0
        try:
            with pa.OSFile(str(self.path)) as file:
                stream = pa.CompressedInputStream(file, "gzip") if self._gzipped else file
                reader = csv.open_csv(
                    stream,
                    csv.ReadOptions(
                        column_names=names, skip_rows=self._skip, block_size=_BATCH_BYTES
                    ),
                    csv.ParseOptions(delimiter=self._delimiter, quote_char=False),
                    # Without words for a missing value, `nan` is a number.
                    csv.ConvertOptions(column_types=types, null_values=[]),
                )
                for batch in reader:
                    columns = [column.to_numpy() for column in batch.columns]
                    gene, cell = columns[0] - 1, columns[1] - 1
                    value = columns[2] if len(columns) == 3 else np.ones(len(gene), np.int32)
                    self._check_range(cell, gene, seen)
                    seen += len(gene)
                    yield cell, gene, self._narrow(value)
        except (OSError, EOFError) as error:
            raise damaged(self.path, error) from None
        except pa.ArrowInvalid as error:
            raise SlafError(
                f"`{self.path}` has a line that is not a gene, a cell and a number, after its "
                f"first {seen} entries ({brief(error)}). Copy the file anew."
            ) from None
        if seen != self.nnz:
            fewer = "fewer: it is cut short" if seen < self.nnz else "more"
            raise SlafError(
                f"`{self.path}` has {self.nnz} entries by its header, and {seen} lines of them, "
                f"{fewer}. Copy the file anew."
            )

    @property
    def _gzipped(self) -> bool:
        return self.path.suffix == ".gz"

    def _narrow(self, value: np.ndarray) -> np.ndarray:
        if value.dtype == np.float64:
            narrow = value.astype(np.float32)
            return narrow if (narrow == value).all() else value
        if value.dtype == np.int64 and value.size and np.abs(value).max() < 2**31:
            return value.astype(np.int32)
        return value

    def _check_range(self, cell: np.ndarray, gene: np.ndarray, seen: int) -> None:
        for what, index, bound in (
            ("cell", cell, self.shape[0]),
            ("gene", gene, self.shape[1]),
        ):
            bad = (index < 0) | (index >= bound)
            if bad.any():
                entry = int(bad.argmax())
                raise SlafError(
                    f"Entry {seen + entry + 1} of `{self.path}` is of {what} "
                    f"{index[entry] + 1}, and there are {what}s 1 to {bound}. "
                    "Copy the folder anew."
                )

    def blocks(self, start: int = 0) -> Iterator[Block]:
        row = read = 0  # rows that are behind, and their entries
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
        """Blocks of a file that goes from cell to cell, as Cell Ranger's do."""
        row, kept = 0, None
        for part in self._batches():
            if not len(part[0]):
                continue
            if kept is not None:
                part = tuple(np.concatenate(pair) for pair in zip(kept, part, strict=True))
            cell, gene, value = part
            if (cell[1:] < cell[:-1]).any():
                raise _Unordered
            # The last cell may go on in the next batch.
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
        indptr = np.searchsorted(cell, np.arange(row, end + 1))
        same = cell[1:] == cell[:-1]
        if (same & (gene[1:] <= gene[:-1])).any():
            order = np.lexsort((gene, cell))
            gene, value = gene[order], value[order]
            twice = np.flatnonzero(same & (gene[1:] == gene[:-1]))
            if len(twice):
                raise SlafError(
                    f"`{self.path}` has gene {gene[twice[0]] + 1} of cell "
                    f"{cell[twice[0]] + 1} twice, and it is not said which is right. "
                    "Write the file again with one entry of each."
                )
        return indptr.astype(np.int64), gene.astype(np.int32), value

    def _all_in_memory(self, start: int, given: int, read: int) -> Iterator[Block]:
        """The blocks from `start` on, of a file in another order.

        Of it `given` rows with `read` entries have been taken as complete.
        """
        parts = zip(*self._batches(), strict=True)
        cell, gene, value = (np.concatenate(arrays) for arrays in parts)
        order = np.lexsort((gene, cell))
        cell, gene, value = cell[order], gene[order], value[order]
        del order
        if np.searchsorted(cell, given) != read:
            raise SlafError(
                f"The entries of `{self.path}` go from cell to cell at first and later do not. "
                "Sort them by cell, the second number of a line."
            )
        indptr, indices, data = self._block(cell, gene, value, 0, self.shape[0])
        rows = sparse.csr_matrix((data, indices, indptr), shape=self.shape)
        yield from SparseRows(rows, self.shape, self.note).blocks(start)
