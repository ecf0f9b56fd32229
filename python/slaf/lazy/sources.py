"""The sources of a lazy matrix: a dataset's X, one of its layers or graphs, or a matrix in
memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from scipy import sparse

from slaf import _slaf
from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.dtypes import engine_values, handed_out
from slaf.lazy.steps import Arrays


class Source(Protocol):
    """A matrix any part of which can be read."""

    shape: tuple[int, int]
    #: The dtype in which its values are returned.
    dtype: np.dtype
    #: Number of stored values; None if it is not known.
    nnz: int | None

    def csr(self, rows: axes.Positions, columns: axes.Positions) -> Arrays: ...


class StoredX:
    """X of a dataset."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.shape = dataset.shape
        self.dtype = dataset.x_dtype
        self.nnz = dataset.engine.nnz
        self.was_dense = (dataset.notes.get("x") or {}).get("encoding") == "dense"

    @property
    def is_unsigned(self) -> bool:
        """Whether the values are stored as unsigned integers."""
        return self.dataset.engine.value_dtype.startswith("uint")

    def csr(self, rows: axes.Positions, columns: axes.Positions) -> Arrays:
        return self.dataset.csr(rows, columns)

    def stored_csr(self, rows: axes.Positions, columns: axes.Positions) -> Arrays:
        """The same in the stored type."""
        engine = self.dataset.engine
        place = axes.argument(rows), axes.argument(columns)
        indptr, indices, data = engine.csr(*place, engine.value_dtype)
        return indptr.astype(np.int64), indices, data

    def sums(self, axis: int, *names: str) -> dict[str, np.ndarray] | None:
        """Some of `nnz`, `total`, `sum_of_squares`, `min` and `max` of the stored values
        of each gene (0) or cell (1), if they are stored."""
        found = self.dataset.engine.sums(axis == 0, list(names))
        if found is None:
            return None
        table = pa.table(found)
        return {name: table.column(name).to_numpy() for name in table.column_names}


class StoredPairs:
    """A matrix of `layers`, `obsp` or `varp` of a dataset."""

    def __init__(self, dataset: Dataset, section: str, key: str):
        self.dataset, self.section, self.key = dataset, section, key
        n_obs, n_vars = dataset.shape
        self.shape = {"layers": (n_obs, n_vars), "obsp": (n_obs, n_obs)}.get(
            section, (n_vars, n_vars)
        )
        self.dtype = dataset.matrix_dtype(section, key)
        self.nnz = None
        self.was_dense = dataset.notes.get(section, {}).get(key, {}).get("dense", False)

    def csr(self, rows: axes.Positions, columns: axes.Positions) -> Arrays:
        return self.dataset.matrix_csr(self.section, self.key, rows, columns)


class Held:
    """A matrix in memory."""

    def __init__(self, matrix: Any):
        if sparse.issparse(matrix):
            _check(matrix)
            matrix = sparse.csr_matrix(matrix)
            if not matrix.has_canonical_format:
                matrix = matrix.copy()
                matrix.sum_duplicates()
            self.nnz: int | None = matrix.nnz
        else:
            matrix = np.asarray(matrix)
            _check(matrix)
            self.nnz = None
        matrix = matrix.astype(handed_out(matrix.dtype), copy=False)
        self.matrix = matrix
        self.shape = matrix.shape
        self.dtype = matrix.dtype
        self.was_dense = not sparse.issparse(matrix)

    def at(self, rows: axes.Positions, columns: axes.Positions) -> Held:
        """A part alone."""
        indptr, indices, data = self.csr(rows, columns)
        shape = len(rows), len(columns)
        return Held(sparse.csr_matrix((data, indices, indptr), shape=shape, copy=False))

    def csr(self, rows: axes.Positions, columns: axes.Positions) -> Arrays:
        part = axes.take(self.matrix, rows)
        if not axes.is_all(columns, self.shape[1]):
            part = part[:, np.asarray(columns, dtype=np.int64)]
        # The result may be written to; the stored matrix must not change.
        part = sparse.csr_matrix(part, copy=part is self.matrix)
        part.sort_indices()
        return part.indptr, part.indices.astype(np.int32, copy=False), part.data


def _check(matrix: Any) -> None:
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"A matrix has two dimensions and holds numbers, not {matrix.ndim} and {matrix.dtype}."
        )


def csc_of(arrays: Arrays, width: int) -> Arrays:
    """Converts CSR arrays to CSC, in new buffers."""
    indptr, indices, data = arrays
    *places, turned = _slaf.to_csc((indptr, indices, engine_values(data)), width)
    return (*places, turned.astype(data.dtype, copy=False))
