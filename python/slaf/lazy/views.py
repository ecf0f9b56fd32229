"""layers, obsm, varm, obsp, varp and uns of a handle: mappings that read a value when it
is looked up, and keep what is set in the handle."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf._slaf import nearest
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.plan import MatrixPlan, plan_of
from slaf.lazy.readers import AXES, held, held_pairs
from slaf.lazy.scanpy_guard import refuse_scanpy
from slaf.lazy.search import Neighbours, search
from slaf.lazy.sources import Held
from slaf.lazy.state import HandleState, OverState, state_of


class LazyDictionaryViewMixin(MutableMapping):
    """What all of them have in common."""

    #: The section of the handle.
    section: str

    def __init__(self, lazy_adata: OverState):
        self.lazy_adata = lazy_adata

    @property
    def _state(self) -> HandleState:
        return state_of(self.lazy_adata)

    def _held(self) -> dict[str, Any]:
        return self._state.held(self.section)

    def keys(self) -> list[str]:  # type: ignore[override]  # a list, as slafdb's
        """The names, in the order they were made."""
        return list(self._held())

    def __contains__(self, key: object) -> bool:
        return key in self._held()

    def __len__(self) -> int:
        return len(self._held())

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held()))

    def __delitem__(self, key: str) -> None:
        self._found(key)
        self._state.change(self.section, key)
        del self._held()[key]
        self._state.changed(self.section, key)

    def _found(self, key: str) -> Any:
        held = self._held()
        if key in held:
            return held[key]
        keys = list(held)
        near = nearest(str(key), keys) or keys[:4]
        hint = f" It has {', '.join(repr(k) for k in near)}." if near else " It is empty."
        raise KeyError(f"{key!r} is not in {self.section}.{hint}")

    def __repr__(self) -> str:
        return f"{type(self).__name__} with keys: {', '.join(map(str, self._held()))}"

    def copy(self) -> dict[str, Any]:
        return dict(self)


class LazyLayersView(LazyDictionaryViewMixin):
    """Lazy matrices of the shape of X, by name."""

    section = "layers"

    def __getitem__(self, key: str) -> LazyExpressionMatrix:
        refuse_scanpy()
        return LazyExpressionMatrix.over(self._found(key).at(*self._state.part))

    def __setitem__(self, key: str, value: LazyExpressionMatrix | sparse.spmatrix) -> None:
        matrix = as_plan(value, self._state.shape, f"layers[{key!r}]")
        self._state.change(self.section, key)
        self._held()[key] = matrix.named(self._state.content.names)
        self._state.changed(self.section, key)


class _ArraysView(LazyDictionaryViewMixin):
    """Arrays along an axis."""

    @property
    def _dim_names(self) -> pd.Index:
        return self._state.names(AXES[self.section])

    def __getitem__(self, key: str) -> Any:
        """The value: each time the same object, so that what is written into it
        stays. A view's is a copy of its own."""
        self._found(key)
        return self._state.value(self.section, key)

    @property
    def _length(self) -> int:
        return self._state.shape[AXES[self.section]]

    def copy(self) -> dict[str, Any]:
        """Copies of the values, which the handle does not keep."""
        return {key: self._state.copied_value(self.section, key) for key in self.keys()}


class LazyMetadataViewMixin(_ArraysView):
    """An array of one row for each cell (or gene), by name."""

    def __setitem__(self, key: str, value: Any) -> None:
        n = self._length
        if not (isinstance(value, pd.DataFrame) or sparse.issparse(value)):
            value = np.asarray(value)
        if value.ndim < 1 or value.shape[0] != n:
            what = "cells" if AXES[self.section] == 0 else "genes"
            raise ValueError(
                f"{self.section}[{key!r}] needs a row for each of the {n} {what}, "
                f"and this has the shape {value.shape}."
            )
        if value.ndim == 1 and not isinstance(value, pd.DataFrame):
            value = value[:, None]
        if isinstance(value, pd.DataFrame) and not value.index.equals(self._dim_names):
            raise ValueError(
                f"The index of the frame for {self.section}[{key!r}] is not the handle's "
                f"{'obs_names' if AXES[self.section] == 0 else 'var_names'}."
            )
        self._state.change(self.section, key)
        self._held()[key] = held(value)
        self._state.changed(self.section, key)

    def search(
        self,
        key: str,
        query: Any,
        k: int = 10,
        *,
        metric: str = "l2",
        filter: Any = None,
        exact: bool | None = None,
        visit: int | None = None,
    ) -> Neighbours:
        """The rows whose vectors in `key` are nearest.

        Parameters
        ----------
        query
            A vector, several as a matrix, or names of rows, which are nearest to
            themselves.
        k
            How many.
        metric
            "l2" (Euclidean), "cosine" (1 - cos; vectors of zeros have no neighbours)
            or "dot" (the negative product).
        filter
            Which rows may be found: a mask, positions, names, or a SQL condition on
            the table `cells` (`genes`).
        exact
            True: look at every vector. False: only through the index that `slaf index
            DATASET --vector KEY` makes. By default, through it if there is one for
            this metric, there are 200,000 vectors or more, and all may be found.
        visit
            Partitions of the index to look into: more find more.

        Raises
        ------
        KeyError
            There is no such key or name.
        SlafError
            The query has another length, or NaN in it.
        ValueError
            `exact=False`, and there is no index for it.
        """
        self._found(key)
        args = (key, query, k, metric, filter, exact, visit)
        return search(self._state, self.section, *args)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and how many arrays there are."""
        return self._length, len(self)


class LazyObsmView(LazyMetadataViewMixin):
    """Embeddings of cells."""

    section = "obsm"


class LazyVarmView(LazyMetadataViewMixin):
    """Embeddings of genes."""

    section = "varm"


class LazyCooViewBase(_ArraysView):
    """A square matrix over an axis, by name."""

    def __setitem__(self, key: str, value: Any) -> None:
        n = self._length
        if not (sparse.issparse(value) and value.format in ("csr", "csc")):
            value = sparse.csr_matrix(value) if sparse.issparse(value) else np.asarray(value)
        if value.shape != (n, n):
            raise ValueError(
                f"{self.section}[{key!r}] needs the shape {(n, n)}, and this has {value.shape}."
            )
        self._state.change(self.section, key)
        self._held()[key] = held_pairs(value)
        self._state.changed(self.section, key)


class LazyObspView(LazyCooViewBase):
    """Graphs of cells: CSR, or dense where that was stored."""

    section = "obsp"


class LazyVarpView(LazyCooViewBase):
    """Graphs of genes: CSR, or dense where that was stored."""

    section = "varp"


class LazyUnsView(LazyDictionaryViewMixin):
    """Whatever else belongs to the dataset."""

    section = "uns"

    def __getitem__(self, key: str) -> Any:
        return self._found(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._state.change(self.section, key)
        self._held()[key] = value
        self._state.changed(self.section, key)

    def copy(self) -> dict[str, Any]:
        """A copy that shares nothing with the handle."""
        return deepcopy(dict(self))


def as_plan(value: Any, shape: tuple[int, int], what: str) -> MatrixPlan:
    """A value for X or a layer of a handle of `shape`; one in memory is copied."""
    if isinstance(value, LazyExpressionMatrix):
        matrix = plan_of(value)
    else:
        matrix = MatrixPlan.of(Held(value.copy() if hasattr(value, "copy") else value))
    if matrix.shape != shape:
        raise ValueError(f"{what} needs the shape {shape}, and this has {matrix.shape}.")
    return matrix
