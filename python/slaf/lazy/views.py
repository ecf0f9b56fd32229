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
    """Methods that all views share."""

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
        """The names, in the order in which they were added."""
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
    """Lazy matrices with the shape of X, by name."""

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
    """Arrays along an axis, by name."""

    @property
    def _dim_names(self) -> pd.Index:
        return self._state.names(AXES[self.section])

    def __getitem__(self, key: str) -> Any:
        """The value. It is always the same object, so edits to it are kept. A view of a
        handle has its own copy."""
        self._found(key)
        return self._state.value(self.section, key)

    @property
    def _length(self) -> int:
        return self._state.shape[AXES[self.section]]

    def copy(self) -> dict[str, Any]:
        """Copies of the values; the handle does not keep them."""
        return {key: self._state.copied_value(self.section, key) for key in self.keys()}


class LazyMetadataViewMixin(_ArraysView):
    """Arrays with one row for each cell (or gene), by name."""

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
        """Finds the rows whose vectors in `key` are nearest.

        Parameters
        ----------
        query
            A vector, several vectors as a matrix, or names of rows. A named row also
            finds itself.
        k
            Number of neighbours.
        metric
            "l2" (Euclidean), "cosine" (1 - cos; vectors of zeros have no neighbours) or
            "dot" (the negative dot product).
        filter
            The rows that can be found: a mask, positions, names, or a SQL condition on
            the table `cells` (`genes`).
        exact
            True compares every vector. False uses the index that `slaf index DATASET
            --vector KEY` builds. By default, the index is used if it exists for this
            metric, there are at least 200,000 vectors, and there is no slice or filter.
        visit
            Number of partitions of the index to visit: more find more of the exact
            neighbours.

        Raises
        ------
        KeyError
            The key or name does not exist.
        SlafError
            The query has a different length, or contains NaN.
        ValueError
            `exact=False`, and there is no index for it.
        """
        self._found(key)
        args = (key, query, k, metric, filter, exact, visit)
        return search(self._state, self.section, *args)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and number of arrays."""
        return self._length, len(self)


class LazyObsmView(LazyMetadataViewMixin):
    """Embeddings of cells."""

    section = "obsm"


class LazyVarmView(LazyMetadataViewMixin):
    """Embeddings of genes."""

    section = "varm"


class LazyCooViewBase(_ArraysView):
    """Square matrices over an axis, by name."""

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
    """Graphs of cells: CSR, or dense if they were stored dense."""

    section = "obsp"


class LazyVarpView(LazyCooViewBase):
    """Graphs of genes: CSR, or dense if they were stored dense."""

    section = "varp"


class LazyUnsView(LazyDictionaryViewMixin):
    """Unstructured data of the dataset."""

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
    """The plan of a value for X or a layer of a handle of `shape`; a matrix in memory
    is copied."""
    if isinstance(value, LazyExpressionMatrix):
        matrix = plan_of(value)
    else:
        matrix = MatrixPlan.of(Held(value.copy() if hasattr(value, "copy") else value))
    if matrix.shape != shape:
        raise ValueError(f"{what} needs the shape {shape}, and this has {matrix.shape}.")
    return matrix
