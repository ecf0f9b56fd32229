"""The plan of a lazy matrix: the source of its values, the selected rows and columns, and
the steps to apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.axes import Positions
from slaf.lazy import steps as todo
from slaf.lazy.sources import Held, Source, csc_of
from slaf.lazy.steps import Arrays, Step

#: Rows and columns.
Part = tuple[Positions, Positions]
#: Returns the names of an axis, 0 or 1.
Names = Callable[[int], "pd.Index | None"]

#: Rows whose names are read for a display.
_NAMED = 1_000_000

Matrix: TypeAlias = sparse.csr_matrix | sparse.csc_matrix | np.ndarray


@dataclass(frozen=True)
class MatrixPlan:
    """A cells × genes matrix that is read when it is computed. It is immutable: every
    operation returns another plan."""

    source: Source
    #: The positions in the source of the rows and columns on which the steps work.
    base: Part
    #: The pending steps, in order.
    steps: tuple[Step, ...]
    #: This matrix's rows and columns among those on which the steps work.
    part: Part
    #: Names of the axes; by default those of the source's dataset.
    names: Names | None
    #: The positions of this matrix's rows and columns among the names that `names`
    #: returns.
    named_at: Part

    @classmethod
    def of(cls, source: Source, names: Names | None = None) -> MatrixPlan:
        """All of `source`, without steps."""
        rows, columns = source.shape
        whole = range(rows), range(columns)
        return cls(source, whole, (), whole, names, whole)

    # What it is -----------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.part[0]), len(self.part[1])

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the result of :meth:`compute`."""
        dtype = self.source.dtype
        for step in self.steps:
            dtype = step.result(dtype)
        return dtype

    @property
    def dataset(self) -> Dataset | None:
        """The dataset from which it is read, if there is one."""
        return getattr(self.source, "dataset", None)

    @property
    def is_dense(self) -> bool:
        """Whether a step makes it dense."""
        return any(step.dense for step in self.steps)

    @property
    def was_dense(self) -> bool:
        """Whether it is dense, or was when it was stored."""
        return self.is_dense or getattr(self.source, "was_dense", False)

    @property
    def is_whole(self) -> bool:
        """Whether it selects all of its source, in order."""
        return all(axes.is_all(self.in_source(axis), self.source.shape[axis]) for axis in (0, 1))

    @property
    def stored(self) -> int | None:
        """The number of stored values, if it is known without reading."""
        return self.source.nnz if self.is_whole else None

    def in_source(self, axis: int) -> Positions:
        """The positions of the rows (0) or columns (1) in the source."""
        return axes.compose(self.base[axis], self.part[axis])

    def axis_names(self, axis: int) -> pd.Index | None:
        if self.names is not None:
            given = self.names(axis)
            return None if given is None else axes.take(given, self.named_at[axis])
        if self.dataset is None:
            return None
        names = self.dataset.obs_names if axis == 0 else self.dataset.var_names
        return axes.take(names, self.in_source(axis))

    def first_names(self, axis: int, first: int) -> list[str]:
        """The first names of an axis; an empty list if reading them would take long."""
        if self.shape[axis] > _NAMED:
            return []
        rows, columns = (range(min(first, n)) for n in self.shape)
        found = self.at(rows, columns).axis_names(axis)
        return [] if found is None else [str(name) for name in found]

    # What can be made of it -----------------------------------------------

    def __getitem__(self, key: Any) -> MatrixPlan:
        """A part, selected by any key that AnnData accepts."""
        rows, columns = axes.split_key(key)
        return self.at(
            axes.positions(rows, self.shape[0], lambda: self.axis_names(0), "obs"),
            axes.positions(columns, self.shape[1], lambda: self.axis_names(1), "var"),
        )

    def at(self, rows: Positions, columns: Positions) -> MatrixPlan:
        """A part, selected by positions."""
        part, named = (
            tuple(axes.compose(o, i) for o, i in zip(place, (rows, columns), strict=True))
            for place in (self.part, self.named_at)
        )
        return replace(self, part=part, named_at=named)

    def named(self, names: Names | None) -> MatrixPlan:
        """This matrix, with `names` giving the names of each axis."""
        rows, columns = self.shape
        return replace(self, names=names, named_at=(range(rows), range(columns)))

    def after(self, *more: Step) -> MatrixPlan:
        """This matrix, followed by the steps `more`."""
        base = self.in_source(0), self.in_source(1)
        done = tuple(step.take(*self.part) for step in self.steps)
        whole = range(self.shape[0]), range(self.shape[1])
        return replace(self, base=base, steps=(*done, *more), part=whole)

    def keeping(self, wanted: Callable[[Step], bool]) -> MatrixPlan:
        """This matrix with only the steps for which `wanted` is true."""
        return replace(self, steps=tuple(step for step in self.steps if wanted(step)))

    def sent(self, rows: range, columns: range) -> MatrixPlan:
        """The part that is sent to another process: without names, and without data of
        other rows and columns."""
        part = self.at(rows, columns).after().named(None)
        if not isinstance(part.source, Held):
            return part
        whole = range(len(rows)), range(len(columns))
        return replace(part, source=part.source.at(*part.base), base=whole)

    def turned(self) -> MatrixPlan:
        """The transpose, genes × cells; it is lazy, too."""
        turned = MatrixPlan.of(Turned(self.named(None)))
        return turned.named(lambda axis: self.axis_names(1 - axis))

    # Reading --------------------------------------------------------------

    def compute(self, format: str = "csr") -> Matrix:
        """A scipy matrix in the format "csr" or "csc", with sorted indices, that shares
        the engine's buffers; an ndarray if a step made it dense."""
        arrays = self.source.csr(self.in_source(0), self.in_source(1))
        rows, columns = self.shape
        steps = [step.take(*self.part) for step in self.steps]
        dense = next((at for at, step in enumerate(steps) if step.dense), len(steps))
        if steps[:dense]:
            arrays = (*arrays[:2], todo.apply_sparse(arrays, columns, steps[:dense], self.dtype))
        if steps[dense:]:
            x = _compressed(sparse.csr_matrix, arrays, (rows, columns))
            return todo.apply_dense(x.astype(self.dtype, copy=False).toarray(), steps[dense:])
        if format == "csc":
            return _compressed(sparse.csc_matrix, csc_of(arrays, columns), (rows, columns))
        return _compressed(sparse.csr_matrix, arrays, (rows, columns))

    def __getstate__(self) -> dict[str, Any]:
        plain = replace(self, names=None)
        if self.names is None:
            return dict(plain.__dict__)
        # The function for names belongs to a handle, which is not pickled.
        names = self.axis_names(0), self.axis_names(1)
        if all(index is None for index in names):
            return dict(plain.__dict__)
        stored = plain.axis_names(0), plain.axis_names(1)
        if self.dataset is not None and all(map(pd.Index.equals, names, stored)):
            return dict(plain.__dict__)
        return dict(self.named(FixedNames(*names)).__dict__)


class FixedNames:
    """Names that stay as they are, whatever happens to a handle's."""

    def __init__(self, rows: pd.Index | None, columns: pd.Index | None):
        self._names = rows, columns

    def __call__(self, axis: int) -> pd.Index | None:
        return self._names[axis]


class Turned:
    """A source that is the transpose of a lazy matrix."""

    def __init__(self, matrix: MatrixPlan):
        self.matrix = matrix
        self.shape = matrix.shape[::-1]
        self.dtype = matrix.dtype
        self.nnz = matrix.stored

    def csr(self, rows: Positions, columns: Positions) -> Arrays:
        part = sparse.csc_matrix(self.matrix.at(columns, rows).compute(format="csc"))
        return part.indptr, part.indices, part.data


class OverMatrix:
    """Base class of objects with a plan; subclasses set `self._plan`."""

    _plan: MatrixPlan


def plan_of(matrix: OverMatrix) -> MatrixPlan:
    """The plan of a `LazyExpressionMatrix`."""
    return matrix._plan


def _compressed(kind: type, arrays: Arrays, shape: tuple[int, int]) -> Any:
    indptr, indices, data = arrays
    matrix = kind((data, indices, indptr), shape=shape, copy=False)
    matrix.has_sorted_indices = True
    return matrix
