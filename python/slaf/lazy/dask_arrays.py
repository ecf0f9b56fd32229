"""A lazy matrix as a dask array."""

from __future__ import annotations

import pickle
import uuid
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from slaf.lazy.plan import Matrix, MatrixPlan
from slaf.lazy.stream import rows_of_a_block


class Blocks:
    """The array that dask slices. A pickled copy opens its dataset at its first read, and
    not when it is unpickled, because the scheduler may have no access to the dataset.

    Parameters
    ----------
    plan
        The matrix. The names of its rows and columns are not sent.
    """

    ndim = 2

    def __init__(self, plan: MatrixPlan):
        self.shape, self.dtype = plan.shape, plan.dtype
        self._plan = plan.named(None)

    def __getstate__(self) -> dict[str, Any]:
        return {"shape": self.shape, "dtype": self.dtype, "_sent": self._sent}

    @cached_property
    def _sent(self) -> bytes:
        return pickle.dumps(self._plan)

    @cached_property
    def _plan(self) -> MatrixPlan:
        return pickle.loads(self._sent)

    def __getitem__(self, key: Any) -> Matrix:
        return self._plan[key].compute()


def dask_array(plan: MatrixPlan, chunks: Any = None) -> Any:
    """See :meth:`LazyExpressionMatrix.to_dask`."""
    try:
        import dask.array as da
    except ImportError:
        raise ImportError("Dask arrays need dask: `pip install 'slaf-jupyter[dask]'`.") from None
    kind = np.empty if plan.is_dense else sparse.csr_matrix
    return da.from_array(
        Blocks(plan),
        chunks=_chunks(plan, chunks),
        asarray=False,
        # A unique name, because a cluster caches blocks by name, and the dataset may be
        # overwritten.
        name=f"slaf-{uuid.uuid4().hex}",
        meta=kind((0, 0), dtype=plan.dtype),
    )


def _chunks(plan: MatrixPlan, chunks: Any) -> tuple[tuple[int, ...], ...]:
    """Blocks of whole rows, unless `chunks` splits columns. Dask's "auto" aims at a number
    of bytes of a dense matrix; here "auto" aims at a number of stored values."""
    from dask.array.core import normalize_chunks

    try:
        rows, columns = chunks if isinstance(chunks, (tuple, list)) else (chunks, None)
        wanted = (
            rows_of_a_block(plan) if rows in (None, "auto") else rows,
            -1 if columns in (None, "auto") else columns,
        )
        return normalize_chunks(wanted, plan.shape, dtype=plan.dtype)
    except (ArithmeticError, TypeError, ValueError):
        raise ValueError(
            f"`chunks` is the rows of a block, or `(rows, columns)`, not {chunks!r}."
        ) from None
