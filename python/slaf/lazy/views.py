"""layers, obsm, varm, obsp, varp and uns of a handle: mappings whose values are
read when looked up, and set in the handle."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import _axis
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.readers import AXES, SQUARE, InMemory, apart, held, held_pairs
from slaf.lazy.sources import Held

if TYPE_CHECKING:
    from slaf.lazy.handle import LazyAnnData
    from slaf.lazy.search import Neighbours


class LazyDictionaryViewMixin(MutableMapping):
    """What all of them have in common."""

    #: The section of the handle.
    section: str

    def __init__(self, lazy_adata: LazyAnnData):
        self.lazy_adata = lazy_adata

    def _held(self) -> dict[str, Any]:
        raise NotImplementedError

    def keys(self) -> list[str]:
        """The names, in the order they were made."""
        return list(self._held())

    def __contains__(self, key: str) -> bool:
        return key in self._held()

    def __len__(self) -> int:
        return len(self._held())

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._held()))

    def __delitem__(self, key: str) -> None:
        self._found(key)
        self.lazy_adata._change(self.section, key)
        del self._held()[key]
        self.lazy_adata._changed(self.section, key)

    def _found(self, key: str) -> Any:
        held = self._held()
        if key in held:
            return held[key]
        from slaf._slaf import nearest

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

    def _held(self) -> dict[str, LazyExpressionMatrix]:
        return self.lazy_adata._content.layers

    def __getitem__(self, key: str) -> LazyExpressionMatrix:
        from slaf.lazy.foreign import refuse_scanpy

        refuse_scanpy()
        return self._found(key)._at(*self.lazy_adata._part)

    def __setitem__(self, key: str, value: LazyExpressionMatrix | sparse.spmatrix) -> None:
        matrix = as_matrix(value, self.lazy_adata, f"layers[{key!r}]")
        self.lazy_adata._change(self.section, key)
        self._held()[key] = matrix._named(self.lazy_adata._content.names)
        self.lazy_adata._changed(self.section, key)


class _ArraysView(LazyDictionaryViewMixin):
    """Arrays along an axis."""

    def _held(self) -> dict[str, Any]:
        return self.lazy_adata._content.arrays[self.section]

    @property
    def _rows(self) -> _axis.Positions:
        return self.lazy_adata._part[AXES[self.section]]

    @property
    def _dim_names(self) -> pd.Index:
        return (self.lazy_adata.obs_names, self.lazy_adata.var_names)[AXES[self.section]]

    def __getitem__(self, key: str) -> Any:
        """The value: each time the same object, so that what is written into it
        stays. A view's is a copy of its own."""
        handle, reader = self.lazy_adata, self._found(key)
        if handle.is_view:
            own = handle._own[self.section]
            if key not in own:
                own[key] = apart(reader(self._rows))
            value = own[key]
        else:
            if not isinstance(reader, InMemory):
                value = apart(reader(self._rows))
                reader = self._held()[key] = InMemory(value, self.section in SQUARE, reader)
            value = reader.value
        return self._with_names(value)

    def _with_names(self, value: Any) -> Any:
        if isinstance(value, pd.DataFrame) and not value.index.is_(self._dim_names):
            # Rows that `.loc` has added are left for `save` to refuse.
            if len(value) == len(self._rows):
                value.index = self._dim_names
        return value

    def _in_memory(self, key: str) -> Any:
        """The value if it was set or handed out, else None."""
        reader, handle = self._found(key), self.lazy_adata
        if handle.is_view and key in handle._own[self.section]:
            return handle._own[self.section][key]
        return reader(self._rows) if isinstance(reader, InMemory) else None

    def copy(self) -> dict[str, Any]:
        """Copies of the values, which the handle does not keep."""
        held = {key: self._in_memory(key) for key in self.keys()}
        read = lambda key: self._found(key)(self._rows)  # noqa: E731
        values = {key: read(key) if value is None else value for key, value in held.items()}
        return {key: self._with_names(apart(value)) for key, value in values.items()}


class LazyMetadataViewMixin(_ArraysView):
    """An array of one row for each cell (or gene), by name."""

    def __setitem__(self, key: str, value: Any) -> None:
        n = len(self._rows)
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
        self.lazy_adata._change(self.section, key)
        self._held()[key] = held(value)
        self.lazy_adata._changed(self.section, key)

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
        from slaf.lazy.search import search

        args = (key, query, k, metric, filter, exact, visit)
        return search(self.lazy_adata, self.section, *args)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and how many arrays there are."""
        return len(self._rows), len(self)


class LazyObsmView(LazyMetadataViewMixin):
    """Embeddings of cells."""

    section = "obsm"


class LazyVarmView(LazyMetadataViewMixin):
    """Embeddings of genes."""

    section = "varm"


class LazyCooViewBase(_ArraysView):
    """A square matrix over an axis, by name."""

    def __setitem__(self, key: str, value: np.ndarray) -> None:
        n = len(self._rows)
        if not (sparse.issparse(value) and value.format in ("csr", "csc")):
            value = sparse.csr_matrix(value) if sparse.issparse(value) else np.asarray(value)
        if value.shape != (n, n):
            raise ValueError(
                f"{self.section}[{key!r}] needs the shape {(n, n)}, and this has {value.shape}."
            )
        self.lazy_adata._change(self.section, key)
        self._held()[key] = held_pairs(value)
        self.lazy_adata._changed(self.section, key)


class LazyObspView(LazyCooViewBase):
    """Graphs of cells: CSR, or dense where that was stored."""

    section = "obsp"


class LazyVarpView(LazyCooViewBase):
    """Graphs of genes: CSR, or dense where that was stored."""

    section = "varp"


class LazyUnsView(LazyDictionaryViewMixin):
    """Whatever else belongs to the dataset."""

    section = "uns"

    def _held(self) -> dict[str, Any]:
        return self.lazy_adata._uns()

    def __getitem__(self, key: str) -> Any:
        return self._found(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.lazy_adata._change(self.section, key)
        self._held()[key] = value
        self.lazy_adata._changed(self.section, key)

    def copy(self) -> dict[str, Any]:
        """A copy that shares nothing with the handle."""
        return deepcopy(dict(self))


def as_matrix(value: Any, handle: LazyAnnData, what: str) -> LazyExpressionMatrix:
    """A value for X or a layer; one in memory is copied."""
    if not isinstance(value, LazyExpressionMatrix):
        value = LazyExpressionMatrix._of(Held(value.copy() if hasattr(value, "copy") else value))
    if value.shape != handle.shape:
        raise ValueError(f"{what} needs the shape {handle.shape}, and this has {value.shape}.")
    return value
