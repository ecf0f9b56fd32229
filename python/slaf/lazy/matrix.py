"""A matrix that is read when it is computed, and streamed when it is summed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import SlafError
from slaf.dataset import OverDataset, dataset_of
from slaf.ground.progress import job
from slaf.ground.sparse_display import remember_names
from slaf.lazy import reduce, steps
from slaf.lazy.dask_arrays import dask_array
from slaf.lazy.plan import Matrix, MatrixPlan, OverMatrix
from slaf.lazy.shown_matrices import matrix_html
from slaf.lazy.sources import StoredPairs, StoredX
from slaf.lazy.stream import blocks_of


class LazyExpressionMatrix(OverMatrix, np.lib.mixins.NDArrayOperatorsMixin):
    """A cells × genes matrix that is read when it is computed.

    Slicing accepts every key that AnnData accepts, and returns another lazy matrix. So
    do `np.log1p`, `np.sqrt`, multiplication and division by a number, a row or a
    column, and similar operations. Sums, means and products with other matrices are
    streamed in limited memory.

    Parameters
    ----------
    slaf_array
        The dataset.
    table_name, layer_name
        With a `layer_name`, that layer; otherwise X.
    """

    # numpy leaves `array @ matrix` to us.
    __array_priority__ = 100

    def __init__(
        self,
        slaf_array: OverDataset,
        table_name: str = "expression",
        layer_name: str | None = None,
    ):
        dataset = dataset_of(slaf_array)
        plain = layer_name is None
        source = StoredX(dataset) if plain else StoredPairs(dataset, "layers", layer_name)
        self._plan = MatrixPlan.of(source)

    @classmethod
    def over(cls, plan: MatrixPlan) -> LazyExpressionMatrix:
        matrix = cls.__new__(cls)
        matrix._plan = plan
        return matrix

    # What it is -----------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return self._plan.shape

    @property
    def ndim(self) -> int:
        return 2

    @property
    def size(self) -> int:
        """Number of stored values, as in a scipy matrix; counted by reading unless the
        dataset records it."""
        return self.nnz

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the result of :meth:`compute`."""
        return self._plan.dtype

    @property
    def pending(self) -> tuple[str, ...]:
        """The steps that are applied to values when they are read, in order: names of
        preprocessing functions, or of numpy functions."""
        return tuple(dict.fromkeys(step.of or step.name for step in self._plan.steps))

    @property
    def table_name(self) -> str:
        return "expression" if self.layer_name is None else "layers"

    @property
    def layer_name(self) -> str | None:
        return getattr(self._plan.source, "key", None)

    @property
    def slaf(self) -> Any:
        """The `SLAFArray` from which it is read, if there is one."""
        return None if self._plan.dataset is None else self._plan.dataset.public

    slaf_array = slaf

    @property
    def obs_names(self) -> pd.Index | None:
        return self._plan.axis_names(0)

    @property
    def var_names(self) -> pd.Index | None:
        return self._plan.axis_names(1)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> LazyExpressionMatrix:
        return self.over(self._plan[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        raise SlafError(
            "A lazy matrix cannot be changed in place. Read it, change it, and set it again: "
            "`x = handle.X.compute(); x[...] = ...; handle.X = x`."
        )

    @property
    def T(self) -> LazyExpressionMatrix:
        """The transpose, genes × cells; it is lazy, too."""
        return self.over(self._plan.turned())

    def transpose(self) -> LazyExpressionMatrix:
        return self.T

    def copy(self) -> LazyExpressionMatrix:
        """The same lazy matrix; data is not copied."""
        return self.over(self._plan)

    # Reading --------------------------------------------------------------

    def compute(self, fragments: bool | None = None, *, format: str = "csr") -> Matrix:
        """Reads the matrix.

        Parameters
        ----------
        fragments
            Accepted for compatibility with slafdb, and ignored.
        format
            "csr" or "csc".

        Returns
        -------
        A scipy matrix with sorted indices, whose arrays are the engine's buffers; an
        ndarray if a step made it dense (`pp.scale`).
        """
        if format not in ("csr", "csc"):
            raise ValueError(f"`format` is 'csr' or 'csc', not {format!r}.")
        with job("reading"):
            matrix = self._plan.compute(format)
        if sparse.issparse(matrix):
            remember_names(matrix, self._plan.first_names)
        return matrix

    def toarray(self) -> np.ndarray:
        """Reads the matrix as a dense array."""
        x = self.compute()
        return x.toarray() if sparse.issparse(x) else x

    todense = toarray

    def ravel(self) -> np.ndarray:
        """Reads the matrix as a 1-d array of its rows, including zeros."""
        return self.toarray().ravel()

    def tocsr(self) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.compute())

    def tocsc(self) -> sparse.csc_matrix:
        return sparse.csc_matrix(self.compute(format="csc"))

    to_memory = compute

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.toarray(), dtype=dtype)

    def astype(self, dtype: Any, copy: bool = True) -> Matrix:
        """Reads the matrix as `dtype`.

        Raises
        ------
        SlafError
            scipy's sparse matrices do not support this dtype.
        """
        matrix = self.compute()
        if sparse.issparse(matrix) and np.dtype(dtype) == np.float16:
            raise SlafError(
                "scipy has no sparse matrices of float16. Take float32, or a dense array: "
                "`.toarray().astype(...)`."
            )
        return matrix.astype(dtype, copy=False)

    def chunks(self, rows: int | None = None) -> Iterator[Matrix]:
        """Iterates over blocks of `rows` rows (by default with about four million
        values), in order. The next block is read while one is processed."""
        return (block for _, block in self.blocks(rows))

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, Matrix]]:
        """The same, with the number of each block's first row."""
        return blocks_of(self._plan, rows)

    def __iter__(self) -> Iterator[Matrix]:
        """Iterates over rows, as scipy matrices do; they are read in blocks."""
        for block in self.chunks():
            yield from block

    def chunked(self, chunk_size: int = 6000) -> Iterator[tuple[Matrix, int, int]]:
        """Iterates over `(block, start, end)`, as AnnData's `chunked_X`."""
        for start, block in self.blocks(chunk_size):
            yield block, start, start + block.shape[0]

    def to_dask(self, chunks: Any = None) -> Any:
        """A dask array of this matrix, whose blocks are scipy CSR matrices that the
        workers read for themselves; nothing is read here. Slices of the dask array read
        less; to select cells by names or masks, slice this matrix first.

        Parameters
        ----------
        chunks
            Rows of a block, or `(rows, columns)`, or dask's tuples of sizes. By
            default blocks are of whole rows with about two million stored values,
            wherever the array is computed.

        Returns
        -------
        A `dask.array.Array` of blocks as :meth:`compute` gives them: CSR, or dense
        once something other than zero was subtracted.

        Raises
        ------
        ImportError
            dask is not installed.
        """
        return dask_array(self._plan, chunks)

    # Reductions -----------------------------------------------------------

    def sum(self, axis: int | None = None, fragments: bool | None = None) -> Any:
        """Sums in float64: of everything, of columns (`axis=0`) or of rows (`axis=1`,
        both 1-d). Zeros count in all reductions."""
        return reduce.moments(self._plan, axis).sum()

    def mean(self, axis: int | None = None, fragments: bool | None = None) -> Any:
        """Means; see :meth:`sum`."""
        return reduce.moments(self._plan, axis).mean()

    def var(self, axis: int | None = None) -> Any:
        """Variances (of the population, as numpy's default); see :meth:`sum`."""
        return reduce.moments(self._plan, axis, squares=True).var()

    def std(self, axis: int | None = None) -> Any:
        """Standard deviations; see :meth:`var`."""
        return np.sqrt(self.var(axis))

    def min(self, axis: int | None = None) -> Any:
        """Minima; see :meth:`sum`."""
        return reduce.moments(self._plan, axis).min()

    def max(self, axis: int | None = None) -> Any:
        """Maxima; see :meth:`sum`."""
        return reduce.moments(self._plan, axis).max()

    def getnnz(self, axis: int | None = None) -> Any:
        """Numbers of nonzero values; see :meth:`sum`."""
        return reduce.moments(self._plan, axis).nonzero()

    count_nonzero = getnnz

    @property
    def nnz(self) -> int:
        """Number of nonzero values."""
        return self.getnnz()

    # Arithmetic -----------------------------------------------------------

    def __matmul__(self, other: Any) -> Any:
        """The product with a dense or sparse matrix or a vector, computed block by
        block."""
        return reduce.times(self._plan, other)

    def __rmatmul__(self, other: Any) -> Any:
        return reduce.times_from_left(other, self._plan)

    dot = __matmul__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.matmul and method == "__call__":
            return self @ inputs[1] if inputs[0] is self else self.__rmatmul__(inputs[0])
        if method == "__call__" and not kwargs and sum(x is self for x in inputs) == 1:
            operands = [None if x is self else x for x in inputs]
            known = [x for x in operands if x is not None]
            if not any(sparse.issparse(x) or isinstance(x, LazyExpressionMatrix) for x in known):
                step = steps.of_ufunc(ufunc.__name__, operands, self.shape, self.dtype)
                if step is not None:
                    return self.over(self._plan.after(step))
        raise TypeError(
            f"np.{ufunc.__name__} of a lazy matrix and these operands is not lazy; "
            "read the matrix first: `.compute()`."
        )

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        method = _REDUCTIONS.get(func)
        if method is not None and args and args[0] is self and set(kwargs) <= {"axis"}:
            return getattr(self, method)(*args[1:2], **kwargs)
        if func in (np.shape, np.ndim):
            return getattr(self, func.__name__)
        if func is np.dot:
            return args[0] @ args[1]
        plain = [a.toarray() if isinstance(a, LazyExpressionMatrix) else a for a in args]
        return func(*plain, **kwargs)

    # Showing --------------------------------------------------------------

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"LazyExpressionMatrix of {rows} × {columns}, {self.dtype}; compute() reads it"

    def _repr_html_(self) -> str:
        """The shape, dtype and steps of the matrix, and the cost of reading it. Nothing
        is read for this display."""
        return matrix_html(self._plan)


_REDUCTIONS = {
    np.sum: "sum",
    np.mean: "mean",
    np.var: "var",
    np.std: "std",
    np.min: "min",
    np.max: "max",
    np.amin: "min",
    np.amax: "max",
    np.count_nonzero: "getnnz",
}
