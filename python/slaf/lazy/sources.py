"""Where the values of a lazy matrix come from: a dataset's X or a layer of it,
a matrix in memory, or another matrix's transpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import sparse

from slaf import _axis, _slaf
from slaf._values import engine_values, handed_out, read_as
from slaf.lazy.steps import Arrays

if TYPE_CHECKING:
    from slaf.array import SLAFArray
    from slaf.lazy.matrix import LazyExpressionMatrix


class Source(Protocol):
    """A matrix that reads any part of itself."""

    shape: tuple[int, int]
    #: What its values are handed out as.
    dtype: np.dtype
    #: Stored values, or None where that is not known.
    nnz: int | None

    def csr(self, rows: _axis.Positions, columns: _axis.Positions) -> Arrays: ...


class Stored:
    """X of a dataset."""

    def __init__(self, array: SLAFArray):
        self.array = array
        self.shape = array.shape
        self.dtype = array._x_dtype
        self.nnz = array._dataset.nnz
        self.was_dense = (array._notes.get("x") or {}).get("encoding") == "dense"

    def csr(self, rows: _axis.Positions, columns: _axis.Positions) -> Arrays:
        return self.array._csr(rows, columns)

    def stored_csr(self, rows: _axis.Positions, columns: _axis.Positions) -> Arrays:
        """The same in the type that it is stored in."""
        dataset = self.array._dataset
        place = _axis.argument(rows), _axis.argument(columns)
        indptr, indices, data = dataset.csr(*place, dataset.value_dtype)
        return indptr.astype(np.int64), indices, data

    def sums(self, axis: int) -> dict[str, np.ndarray] | None:
        """`nnz`, `total`, `sum_of_squares`, `min` and `max` of the stored values
        of each gene (0) or cell (1), where they are kept."""
        import pyarrow as pa

        found = self.array._dataset.sums(axis == 0)
        if found is None:
            return None
        table = pa.table(found)
        return {name: table.column(name).to_numpy() for name in table.column_names}


class Layer:
    """A layer of a dataset."""

    def __init__(self, array: SLAFArray, key: str):
        self.array, self.key = array, key
        self.shape = array.shape
        self.dtype = noted_dtype(array, "layers", key)
        self.nnz = None
        self.was_dense = array._notes.get("layers", {}).get(key, {}).get("dense", False)

    def csr(self, rows: _axis.Positions, columns: _axis.Positions) -> Arrays:
        place = _axis.argument(rows), _axis.argument(columns)
        kind = read_as(self.dtype)
        indptr, indices, data = self.array._dataset.pairs("layers", self.key, *place, kind)
        return indptr, indices, data.astype(self.dtype, copy=False)


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

    def csr(self, rows: _axis.Positions, columns: _axis.Positions) -> Arrays:
        part = _axis.take(self.matrix, rows)
        if not _axis.is_all(columns, self.shape[1]):
            part = part[:, np.asarray(columns, dtype=np.int64)]
        # What is computed may be written to; what is held stays.
        part = sparse.csr_matrix(part, copy=part is self.matrix)
        part.sort_indices()
        return part.indptr, part.indices.astype(np.int32, copy=False), part.data


def _check(matrix: Any) -> None:
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"A matrix has two dimensions and holds numbers, not {matrix.ndim} and {matrix.dtype}."
        )


class Turned:
    """A lazy matrix with rows and columns exchanged."""

    def __init__(self, matrix: LazyExpressionMatrix):
        self.matrix = matrix
        self.shape = matrix.shape[::-1]
        self.dtype = matrix.dtype
        self.nnz = matrix._stored

    def csr(self, rows: _axis.Positions, columns: _axis.Positions) -> Arrays:
        part = self.matrix._at(columns, rows).compute(format="csc")
        part = sparse.csc_matrix(part)
        return part.indptr, part.indices, part.data


def noted_dtype(array: SLAFArray, section: str, key: str) -> np.dtype:
    """What a matrix of `layers`, `obsp` or `varp` is handed out as: the dtype that
    it had when it was written."""
    noted = array._notes.get(section, {}).get(key, {}).get("dtype")
    if noted:
        return handed_out(noted)
    table = {"layers": "layers", "obsp": "cellsxcells", "varp": "genesxgenes"}[section]
    kinds = {"Float": "float32", "Float32": "float32", "Float64": "float64", "UInt16": "uint16"}
    return np.dtype(kinds.get(array._columns[table][key], "float64"))


def csc_of(arrays: Arrays, width: int) -> Arrays:
    """CSR arrays as CSC ones, in new buffers."""
    indptr, indices, data = arrays
    *places, turned = _slaf.to_csc((indptr, indices, engine_values(data)), width)
    return (*places, turned.astype(data.dtype, copy=False))
