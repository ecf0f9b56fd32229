"""The display of a sparse matrix in memory, with the names of its rows and columns."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from slaf import _slaf

#: `(axis, n)` → the first `n` names along that axis (0 or 1) of a matrix.
FirstNames = Callable[[int, int], "list[str]"]

#: About how many values are drawn, and the rows and columns that are shown as numbers.
_DRAWN, _CORNER = 200_000, 6

_names: dict[int, FirstNames] = {}


def remember_names(matrix: Any, names: FirstNames) -> None:
    """Registers names for the rows and columns of a scipy matrix, which has none itself."""
    _names[id(matrix)] = names
    weakref.finalize(matrix, _names.pop, id(matrix), None)


def sparse_display(matrix: Any) -> tuple[str, str]:
    """HTML and text of a CSR or CSC matrix."""
    turned = matrix.format == "csc"
    lines = matrix.shape[1 if turned else 0]
    drawn = matrix
    if matrix.nnz > _DRAWN:
        some = np.linspace(0, lines - 1, max(1, lines * _DRAWN // matrix.nnz)).astype(np.int64)
        some = np.unique(some)
        drawn = matrix[:, some] if turned else matrix[some]
    corner = matrix[:_CORNER, :_CORNER]
    names = _names.get(id(matrix), lambda axis, first: [])
    return _slaf.draw_sparse(
        _arrays(drawn),
        _arrays(corner),
        turned=turned,
        shape=matrix.shape,
        corner_shape=corner.shape,
        nnz=matrix.nnz,
        dtype=str(matrix.dtype),
        bytes=matrix.indptr.nbytes + matrix.indices.nbytes + matrix.data.nbytes,
        names=(names(0, corner.shape[0]), names(1, corner.shape[1])),
    )


def _arrays(matrix: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # For complex numbers, their absolute values.
    values = np.abs(matrix.data) if matrix.dtype.kind == "c" else matrix.data
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        values.astype(np.float64, copy=False),
    )
