"""The pending steps of a lazy matrix, applied to its values when they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from slaf import _slaf
from slaf.ground import axes
from slaf.ground.dtypes import engine_values

#: `(indptr, indices, data)` of CSR rows.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Step:
    """One operation on each value. `rows` and `columns` multiply by one number per row
    or column; `per_row` and `per_column` divide. Some make the matrix dense: `subtract`
    subtracts one number per column, `less_product` the product of two matrices
    (rows × k and k × columns), and `less_group` the number of its column in the group
    of its row, by which `per_group` divides. The others are numpy functions of that
    name."""

    name: str
    number: Any = None
    #: The preprocessing function that made the step.
    of: str = ""
    #: The dtype of the result, if it does not follow from the input's.
    dtype: np.dtype | None = None
    #: A mask of the rows to which the step is applied; None for all.
    mask: np.ndarray | None = None

    def take(self, rows: axes.Positions, columns: axes.Positions) -> Step:
        """The step for a part of the matrix."""
        number, mask = self.number, self.mask
        if self.name in ("rows", "per_row"):
            number = _numbers(number, rows)
        if self.name in ("columns", "per_column", "subtract", "clip_columns"):
            number = _numbers(number, columns)
        if self.name in ("less_product", "less_group", "per_group"):
            of_rows, of_columns = number
            number = axes.take(of_rows, rows), axes.take(of_columns.T, columns).T
        mask = None if mask is None else axes.take(mask, rows)
        return replace(self, number=number, mask=mask)

    @property
    def dense(self) -> bool:
        return self.name in ("subtract", "less_product", "less_group", "per_group")

    def result(self, dtype: np.dtype) -> np.dtype:
        """The dtype of the result for values of `dtype`, float32 or float64, as in
        numpy or in the scanpy function that it belongs to."""
        if self.dtype is not None:
            return self.dtype
        if self.of in ("normalize_total", "log1p"):
            return np.dtype("float64" if dtype == np.float64 else "float32")
        if self.of == "scale" and dtype.kind != "f":
            return np.dtype("float64")
        return np.result_type(dtype, np.float32)


def _numbers(values: np.ndarray, positions: axes.Positions) -> np.ndarray:
    return np.ascontiguousarray(axes.take(values, positions), dtype=np.float64)


def for_engine(steps: list[Step]) -> list[tuple[str, Any]]:
    """The name and number of each step, as the engine takes them."""
    return [
        (s.name, s.number if s.number is None or np.ndim(s.number) else float(s.number))
        for s in steps
    ]


def apply_sparse(arrays: Arrays, width: int, steps: list[Step], dtype: np.dtype) -> np.ndarray:
    """The values after `steps`; none of these may make the matrix dense."""
    indptr, indices, values = arrays
    for _, run in groupby(steps, lambda step: id(step.mask)):
        same = list(run)
        mask = same[0].mask
        arrays = indptr, indices, engine_values(values)
        after = _slaf.apply_steps(arrays, width, for_engine(same), dtype.name)
        if mask is not None:
            after = np.where(np.repeat(mask, np.diff(indptr)), after, values.astype(dtype))
        values = after
    return values


#: The same for dense rows, in place.
_DENSE: dict[str, Callable[[np.ndarray, Any], Any]] = {
    "rows": lambda x, n: np.multiply(x, n[:, None], out=x),
    "columns": lambda x, n: np.multiply(x, n, out=x),
    "per_row": lambda x, n: np.divide(x, n[:, None], out=x),
    "per_column": lambda x, n: np.divide(x, n, out=x),
    "times": lambda x, n: np.multiply(x, n, out=x),
    "power": lambda x, n: np.power(x, n, out=x),
    "log1p": lambda x, n: np.log1p(x, out=x),
    "expm1": lambda x, n: np.expm1(x, out=x),
    "abs": lambda x, n: np.abs(x, out=x),
    "sign": lambda x, n: np.sign(x, out=x),
    "clip": lambda x, n: np.clip(x, -n, n, out=x),
    "clip_columns": lambda x, n: np.minimum(x, n, out=x),
    "subtract": lambda x, n: np.subtract(x, n, out=x),
    "less_product": lambda x, n: np.subtract(x, n[0] @ n[1], out=x),
    "less_group": lambda x, n: np.subtract(x, n[1][n[0]], out=x),
    "per_group": lambda x, n: np.divide(x, n[1][n[0]], out=x),
}


def apply_dense(x: np.ndarray, steps: list[Step]) -> np.ndarray:
    """Applies `steps` to `x`, rows × columns, in place."""
    for step in steps:
        if step.mask is None:
            _DENSE[step.name](x, step.number)
        else:
            x[step.mask] = _DENSE[step.name](x[step.mask], step.number)
    return x


def of_ufunc(
    name: str, operands: list[Any], shape: tuple[int, int], dtype: np.dtype
) -> Step | None:
    """The step for a numpy function of a lazy matrix (None among `operands`) with
    `dtype` and a number, a row or a column, if it keeps zeros zero."""
    step = _step(name, operands, shape)
    return None if step is None else replace(step, dtype=_dtype(name, operands, dtype))


def _dtype(name: str, operands: list[Any], dtype: np.dtype) -> np.dtype:
    """float32 if numpy's result is at most that, otherwise float64: integers are exact
    up to 2^53, and do not overflow."""
    nothing = np.empty(0, dtype)
    inputs = [nothing if x is None else x if np.ndim(x) == 0 else np.ravel(x)[:0] for x in operands]
    try:
        found = getattr(np, name)(*inputs).dtype
    except TypeError:
        # numpy has no sign function for booleans.
        found = np.result_type(dtype, np.float32)
    return np.dtype("float32" if found.kind == "f" and found.itemsize <= 4 else "float64")


def _step(name: str, operands: list[Any], shape: tuple[int, int]) -> Step | None:
    if name in _UNARY:
        step, number = _UNARY[name]
        return Step(step, number)
    if len(operands) != 2 or name not in ("multiply", "divide", "true_divide", "power"):
        return None
    first = operands[0] is None
    other = operands[1] if first else operands[0]
    if name == "power":
        positive = first and np.ndim(other) == 0 and other > 0
        return Step("power", float(other)) if positive else None
    if not (first or name == "multiply"):
        return None
    other = np.asarray(other, dtype=np.float64)
    divide = name != "multiply"
    if not np.isfinite(other).all() or (divide and not other.all()):
        return None
    if other.ndim == 0:
        return Step("times", float(1 / other if divide else other))
    if other.shape == (shape[0], 1):
        return Step("per_row" if divide else "rows", other.ravel())
    if other.shape in ((shape[1],), (1, shape[1])):
        return Step("per_column" if divide else "columns", other.ravel())
    return None


_UNARY = {
    "log1p": ("log1p", None),
    "expm1": ("expm1", None),
    "sqrt": ("power", 0.5),
    "square": ("power", 2.0),
    "absolute": ("abs", None),
    "sign": ("sign", None),
    "negative": ("times", -1.0),
    "positive": ("times", 1.0),
}
