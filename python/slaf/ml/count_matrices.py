"""Converts the counts that a tokenizer receives to one kind of matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from slaf.ground.dtypes import handed_out


def canonical(matrix: Any, genes: int) -> sparse.csr_matrix:
    """Converts a sparse or dense matrix with `genes` columns to CSR, sorted and without
    repeats. The caller's matrix is not changed.

    Raises
    ------
    ValueError
        It has a different number of columns.
    """
    if not sparse.issparse(matrix):
        matrix = np.atleast_2d(np.asarray(matrix))
        matrix = matrix.astype(handed_out(matrix.dtype), copy=False)
    matrix = sparse.csr_matrix(matrix)
    if matrix.shape[1] != genes:
        raise ValueError(
            f"The matrix has {matrix.shape[1]} columns, and the dataset {genes} genes."
        )
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def matrix_of(
    genes: Sequence[Sequence[Any]], values: Sequence[Sequence[float]], width: int
) -> sparse.csr_matrix:
    """Cells, given as lists of gene numbers and of their values, as a matrix with
    `width` genes."""
    lengths = [len(cell) for cell in genes]
    indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    columns = np.array([gene for cell in genes for gene in cell], dtype=np.int32)
    data = np.array([value for cell in values for value in cell])
    return sparse.csr_matrix((data, columns, indptr), (len(lengths), width))
