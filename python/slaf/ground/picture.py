"""A picture of where a sparse matrix has its values."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from slaf import _slaf


def picture(
    csr: sparse.csr_matrix, shape: tuple[int, int], nnz: int | None, note: str
) -> tuple[str, str]:
    """A picture as HTML and text. `csr` is drawn; it can be a sample of a matrix with
    `shape` and `nnz` values (None: unknown)."""
    return _slaf.picture(
        csr.indptr.astype(np.int64, copy=False),
        csr.indices.astype(np.int32, copy=False),
        csr.shape[1],
        shape,
        nnz,
        str(csr.dtype),
        note,
    )
