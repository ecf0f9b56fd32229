"""A matrix that is read when computed, and streamed when summed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import SlafError, _axis
from slaf.lazy import reduce, steps
from slaf.lazy.sources import Layer, Source, Stored, csc_of
from slaf.lazy.steps import Arrays, Step
from slaf.lazy.stream import blocks_of

if TYPE_CHECKING:
    from slaf.array import SLAFArray

Matrix = sparse.csr_matrix | sparse.csc_matrix | np.ndarray


class LazyExpressionMatrix(np.lib.mixins.NDArrayOperatorsMixin):
    """A cells × genes matrix that is read when computed.

    Slicing takes every key that AnnData takes and gives another lazy matrix.
    `np.log1p`, `np.sqrt`, products and quotients with a number, a row or a
    column, and the like give a lazy matrix too; sums, means and products with
    other matrices are streamed in bounded memory.

    Parameters
    ----------
    slaf_array
        The dataset.
    table_name, layer_name
        With a `layer_name`, that layer; else X.
    """

    # numpy leaves `array @ matrix` to us.
    __array_priority__ = 100

    def __init__(
        self,
        slaf_array: SLAFArray,
        table_name: str = "expression",
        layer_name: str | None = None,
    ):
        source = Stored(slaf_array) if layer_name is None else Layer(slaf_array, layer_name)
        self._become(source)

    @classmethod
    def _of(cls, source: Source, names: Any = None) -> LazyExpressionMatrix:
        matrix = cls.__new__(cls)
        matrix._become(source, names)
        return matrix

    def _become(self, source: Source, names: Any = None) -> None:
        self._source = source
        self._names = names
        rows, columns = source.shape
        # Where the steps' rows and columns lie in the source, and where this
        # matrix's lie among those.
        self._base: tuple[_axis.Positions, _axis.Positions] = (range(rows), range(columns))
        self._steps: tuple[Step, ...] = ()
        self._part: tuple[_axis.Positions, _axis.Positions] = self._base
        # Where they lie among what `names` names.
        self._named_at: tuple[_axis.Positions, _axis.Positions] = self._base

    def _like(self, **changes: Any) -> LazyExpressionMatrix:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__, **changes)
        return other

    # What it is -----------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._part[0]), len(self._part[1])

    @property
    def ndim(self) -> int:
        return 2

    @property
    def size(self) -> int:
        """Stored values, as of a scipy matrix; counted by reading unless the
        dataset knows."""
        return self.nnz

    @property
    def dtype(self) -> np.dtype:
        """The dtype that :meth:`compute` gives."""
        dtype = self._source.dtype
        for step in self._steps:
            dtype = step.result(dtype)
        return dtype

    @property
    def pending(self) -> tuple[str, ...]:
        """What is done to its values once they are read, in order: names of
        preprocessing functions, or else of numpy's."""
        return tuple(dict.fromkeys(step.of or step.name for step in self._steps))

    @property
    def table_name(self) -> str:
        return "expression" if self.layer_name is None else "layers"

    @property
    def layer_name(self) -> str | None:
        return getattr(self._source, "key", None)

    @property
    def slaf(self) -> SLAFArray | None:
        """The dataset that it is read from, if it is one."""
        return getattr(self._source, "array", None)

    slaf_array = slaf

    @property
    def obs_names(self) -> pd.Index | None:
        return self._axis_names(0)

    @property
    def var_names(self) -> pd.Index | None:
        return self._axis_names(1)

    def _axis_names(self, axis: int) -> pd.Index | None:
        if self._names is not None:
            given = self._names(axis)
            return None if given is None else _axis.take(given, self._named_at[axis])
        if self.slaf is None:
            return None
        names = self.slaf._obs_names if axis == 0 else self.slaf._var_names
        return _axis.take(names, self._of_base(axis))

    def _of_base(self, axis: int) -> _axis.Positions:
        """Positions in the source."""
        return _axis.compose(self._base[axis], self._part[axis])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> LazyExpressionMatrix:
        rows, columns = _axis.split_key(key)
        return self._at(
            _axis.positions(rows, self.shape[0], lambda: self.obs_names, "obs"),
            _axis.positions(columns, self.shape[1], lambda: self.var_names, "var"),
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        raise SlafError(
            "A lazy matrix is not written to in place. Read it, change it, and set it again: "
            "`x = handle.X.compute(); x[...] = ...; handle.X = x`."
        )

    def _at(self, rows: _axis.Positions, columns: _axis.Positions) -> LazyExpressionMatrix:
        taken = rows, columns
        part, named = (
            tuple(_axis.compose(outer, inner) for outer, inner in zip(place, taken, strict=True))
            for place in (self._part, self._named_at)
        )
        return self._like(_part=part, _named_at=named)

    def _named(self, names: Any) -> LazyExpressionMatrix:
        """This matrix with the names that `names` gives of each axis."""
        rows, columns = self.shape
        return self._like(_names=names, _named_at=(range(rows), range(columns)))

    def __getstate__(self) -> dict[str, Any]:
        # Names are asked of a handle, which is not sent along.
        names, plain = (self.obs_names, self.var_names), self._like(_names=None)
        if self._names is None or all(index is None for index in names):
            return dict(plain.__dict__)
        stored = plain.obs_names, plain.var_names
        if self.slaf is not None and all(map(pd.Index.equals, names, stored)):
            return dict(plain.__dict__)
        return dict(self._named(FixedNames(*names)).__dict__)

    @property
    def T(self) -> LazyExpressionMatrix:
        """Genes × cells, as lazy as this."""
        from slaf.lazy.sources import Turned

        turned = LazyExpressionMatrix._of(Turned(self))
        return turned._named(lambda axis: self._axis_names(1 - axis))

    def transpose(self) -> LazyExpressionMatrix:
        return self.T

    def copy(self) -> LazyExpressionMatrix:
        """The same lazy matrix again; data is not copied."""
        return self._like()

    # Reading --------------------------------------------------------------

    def compute(self, fragments: bool | None = None, *, format: str = "csr") -> Matrix:
        """Reads the matrix.

        Parameters
        ----------
        fragments
            Accepted for slafdb's sake.
        format
            "csr" or "csc".

        Returns
        -------
        A scipy matrix with sorted indices, whose arrays are the engine's own
        buffers; an ndarray once something other than zero was subtracted
        (`pp.scale`).
        """
        if format not in ("csr", "csc"):
            raise ValueError(f"`format` is 'csr' or 'csc', not {format!r}.")
        arrays = self._source.csr(self._of_base(0), self._of_base(1))
        rows, columns = self.shape
        todo = [step.take(*self._part) for step in self._steps]
        dense = next((at for at, step in enumerate(todo) if step.dense), len(todo))
        if todo[:dense]:
            arrays = (*arrays[:2], steps.apply_sparse(arrays, columns, todo[:dense], self.dtype))
        if todo[dense:]:
            x = _csr(arrays, (rows, columns)).astype(self.dtype, copy=False).toarray()
            return steps.apply_dense(x, todo[dense:])
        if format == "csc":
            return _compressed(sparse.csc_matrix, csc_of(arrays, columns), (rows, columns))
        return _csr(arrays, (rows, columns))

    def toarray(self) -> np.ndarray:
        """Reads the matrix: a dense array."""
        x = self.compute()
        return x.toarray() if sparse.issparse(x) else x

    todense = toarray

    def ravel(self) -> np.ndarray:
        """Reads the matrix: its values row after row, zeros too."""
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
            scipy's sparse matrices have no such dtype.
        """
        matrix = self.compute()
        if sparse.issparse(matrix) and np.dtype(dtype) == np.float16:
            raise SlafError(
                "scipy has no sparse matrices of float16. Take float32, or a dense array: "
                "`.toarray().astype(...)`."
            )
        return matrix.astype(dtype, copy=False)

    def chunks(self, rows: int | None = None) -> Iterator[Matrix]:
        """The matrix in blocks of `rows` rows (by default of about four million
        values), in order; the next is read while one is worked on."""
        return (block for _, block in self.blocks(rows))

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, Matrix]]:
        """The same, each with the number of its first row."""
        return blocks_of(self, rows)

    def __iter__(self) -> Iterator[Matrix]:
        """Row by row, as scipy's matrices; read block by block."""
        for block in self.chunks():
            yield from block

    def chunked(self, chunk_size: int = 6000) -> Iterator[tuple[Matrix, int, int]]:
        """`(block, start, end)`, as AnnData's `chunked_X`."""
        for start, block in self.blocks(chunk_size):
            yield block, start, start + block.shape[0]

    def _dense(self) -> bool:
        return any(step.dense for step in self._steps)

    @property
    def _was_dense(self) -> bool:
        """Whether it was, or is, a dense array elsewhere."""
        return self._dense() or getattr(self._source, "was_dense", False)

    # Reductions -----------------------------------------------------------

    def sum(self, axis: int | None = None, fragments: bool | None = None) -> Any:
        """Sums in float64: a number, per column (`axis=0`) or per row
        (`axis=1`, both 1-d). Zeros count in all reductions."""
        return reduce.moments(self, axis).sum()

    def mean(self, axis: int | None = None, fragments: bool | None = None) -> Any:
        """Means, as :meth:`sum`."""
        return reduce.moments(self, axis).mean()

    def var(self, axis: int | None = None) -> Any:
        """Variances (of the population, as numpy's default), as :meth:`sum`."""
        return reduce.moments(self, axis, squares=True).var()

    def std(self, axis: int | None = None) -> Any:
        """Standard deviations, as :meth:`var`."""
        return np.sqrt(self.var(axis))

    def min(self, axis: int | None = None) -> Any:
        """Least values, as :meth:`sum`."""
        return reduce.moments(self, axis).min()

    def max(self, axis: int | None = None) -> Any:
        """Greatest values, as :meth:`sum`."""
        return reduce.moments(self, axis).max()

    def getnnz(self, axis: int | None = None) -> Any:
        """How many values are not zero, as :meth:`sum`."""
        return reduce.moments(self, axis).nonzero()

    count_nonzero = getnnz

    @property
    def nnz(self) -> int:
        """How many values are not zero."""
        return self.getnnz()

    # Arithmetic -----------------------------------------------------------

    def __matmul__(self, other: Any) -> Any:
        """The product with a dense or sparse matrix or a vector, block by block."""
        return reduce.times(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return reduce.times_from_left(other, self)

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
                    return self._after(step)
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

    def _after(self, *more: Step) -> LazyExpressionMatrix:
        """This matrix with `more` done to its values."""
        base = self._of_base(0), self._of_base(1)
        done = tuple(step.take(*self._part) for step in self._steps)
        whole = range(self.shape[0]), range(self.shape[1])
        return self._like(_base=base, _steps=(*done, *more), _part=whole)

    # Showing --------------------------------------------------------------

    @property
    def _stored(self) -> int | None:
        """How many values are stored, where that is known without reading."""
        return self._source.nnz if self._is_whole else None

    @property
    def _is_whole(self) -> bool:
        whole = (_axis.is_all(self._of_base(axis), self._source.shape[axis]) for axis in (0, 1))
        return all(whole)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"LazyExpressionMatrix of {rows} × {columns}, {self.dtype}; compute() reads it"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        from slaf import _display

        html, text = _display.matrix(self)
        return {"text/html": html, "text/plain": text}


class FixedNames:
    """Names that do not follow a handle's."""

    def __init__(self, rows: pd.Index | None, columns: pd.Index | None):
        self._names = rows, columns

    def __call__(self, axis: int) -> pd.Index | None:
        return self._names[axis]


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


def _csr(arrays: Arrays, shape: tuple[int, int]) -> sparse.csr_matrix:
    return _compressed(sparse.csr_matrix, arrays, shape)


def _compressed(kind: type, arrays: Arrays, shape: tuple[int, int]) -> Any:
    indptr, indices, data = arrays
    matrix = kind((data, indices, indptr), shape=shape, copy=False)
    matrix.has_sorted_indices = True
    return matrix
