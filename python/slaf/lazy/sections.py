"""The sections of a handle (X, layers, obsm, …), under AnnData's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from slaf.lazy.frame import LazyFrame, whole
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.scanpy_guard import refuse_scanpy
from slaf.lazy.state import HandleState, OverState, state_of
from slaf.lazy.views import (
    LazyDictionaryViewMixin,
    LazyLayersView,
    LazyObsmView,
    LazyObspView,
    LazyUnsView,
    LazyVarmView,
    LazyVarpView,
    as_plan,
)

View = TypeVar("View", bound=LazyDictionaryViewMixin)


class Section(Generic[View]):
    """A mapping of a handle. Assigning to it replaces its entries one by one."""

    def __init__(self, view: type[View]):
        self._view = view

    def __get__(self, handle: Any, owner: type) -> View:
        return self if handle is None else self._view(handle)

    def __set__(self, handle: Any, values: Mapping[str, Any]) -> None:
        view, values = self._view(handle), dict(values)
        for key in view.keys():
            if key not in values:
                del view[key]
        for key, value in values.items():
            view[key] = value


class Sections(OverState):
    """Names, metadata, matrices and mappings of a lazy handle."""

    @classmethod
    def over(cls, state: HandleState) -> Any:
        """A handle of this class with `state`."""
        handle = cls.__new__(cls)
        handle._state = state
        return handle

    @property
    def shape(self) -> tuple[int, int]:
        return self._state.shape

    @property
    def n_obs(self) -> int:
        return self.shape[0]

    @property
    def n_vars(self) -> int:
        return self.shape[1]

    @property
    def obs(self) -> LazyFrame:
        """Cell metadata, indexed by `obs_names`."""
        return self._state.frame("obs")

    @obs.setter
    def obs(self, frame: pd.DataFrame) -> None:
        self._state.set_frame("obs", frame)

    @property
    def var(self) -> LazyFrame:
        """Gene metadata, indexed by `var_names`."""
        return self._state.frame("var")

    @var.setter
    def var(self, frame: pd.DataFrame) -> None:
        self._state.set_frame("var", frame)

    @property
    def obs_deprecated(self) -> pd.DataFrame:
        """obs as a pandas frame with all columns read."""
        return whole(self.obs)

    @property
    def var_deprecated(self) -> pd.DataFrame:
        """var as a pandas frame with all columns read."""
        return whole(self.var)

    @property
    def _x(self) -> LazyExpressionMatrix | None:
        x = self._state.x
        return None if x is None else LazyExpressionMatrix.over(x)

    def _matrix(self, layer: str | None = None) -> LazyExpressionMatrix:
        """X, or a layer. Raises ValueError if X is None."""
        matrix = self._x if layer is None else self.layers[layer]
        if matrix is None:
            raise ValueError("X is None. Set it, or name a layer where one can be named.")
        return matrix

    @property
    def X(self) -> LazyExpressionMatrix | None:
        """The expression matrix, not yet read; None if the source had none."""
        refuse_scanpy()
        return self._x

    @X.setter
    def X(self, value: Any) -> None:
        matrix = None if value is None else as_plan(value, self.shape, "X")
        self._state.change("X", None)
        content = self._state.content
        content.x = None if matrix is None else matrix.named(content.names)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._matrix()[key] = value

    layers = Section(LazyLayersView)
    obsm = Section(LazyObsmView)
    varm = Section(LazyVarmView)
    obsp = Section(LazyObspView)
    varp = Section(LazyVarpView)
    uns = Section(LazyUnsView)

    @property
    def raw(self) -> Any:
        """The cells of this handle with all genes of `raw`; None if there is no raw."""
        raw = self._state.raw
        if raw is None:
            return None
        # Always the same object, as in AnnData.
        known = self.__dict__.get("_raw")
        if known is None or state_of(known) is not raw:
            known = self._raw = type(self).over(raw)
        return known

    @raw.setter
    def raw(self, value: Any) -> None:
        if value is not None and not isinstance(value, OverState):
            raise TypeError(
                "raw of a lazy handle must be a lazy handle, such as the handle itself."
            )
        self._state.set_raw(None if value is None else state_of(value))

    @raw.deleter
    def raw(self) -> None:
        self.raw = None

    def chunk_X(self, select: int | Sequence[int] = 1000, replace: bool = True) -> np.ndarray:
        """Dense rows of X: those in `select`, or, for a number, as many random ones,
        with `replace` possibly repeated."""
        if isinstance(select, Integral):
            select = np.random.choice(self.n_obs, min(int(select), self.n_obs), replace)
        elif isinstance(select, str) or not isinstance(select, (Sequence, np.ndarray)):
            raise ValueError("select is a number of rows, or their positions.")
        return self._matrix()[np.asarray(select)].toarray()

    def obs_vector(self, k: str, *, layer: str | None = None) -> np.ndarray:
        """A column of obs, or a gene's values in all cells: 1-d, dense.

        Raises
        ------
        KeyError
            There is no such column or gene.
        """
        return self._vector(k, layer, "obs")

    def var_vector(self, k: str, *, layer: str | None = None) -> np.ndarray:
        """A column of var, or a cell's values in all genes: 1-d, dense."""
        return self._vector(k, layer, "var")

    def _vector(self, key: str, layer: str | None, axis: str) -> np.ndarray:
        frame, other = (self.obs, self.var) if axis == "obs" else (self.var, self.obs)
        if key in frame.columns:
            if key in other.index:
                raise ValueError(f"{key!r} is both a column of {axis} and a name of the other.")
            return frame[key].values
        if key not in other.index:
            names = "var_names" if axis == "obs" else "obs_names"
            raise KeyError(f"{key!r} is neither a column of {axis} nor one of {names}.")
        matrix = self._x if layer in (None, "X") else self.layers[layer]
        if matrix is None:
            raise KeyError(f"{key!r} is no column of {axis}, and there is no X.")
        part = matrix[:, key] if axis == "obs" else matrix[key]
        return part.toarray().ravel()

    @property
    def obs_names(self) -> pd.Index:
        return self.obs.index

    @obs_names.setter
    def obs_names(self, names: Iterable[str]) -> None:
        self.obs.index = names

    @property
    def var_names(self) -> pd.Index:
        return self.var.index

    @var_names.setter
    def var_names(self, names: Iterable[str]) -> None:
        self.var.index = names

    @property
    def is_view(self) -> bool:
        """Whether this is a view: a part of another handle, which shares its content."""
        return self._state.is_view

    @property
    def isview(self) -> bool:
        """:attr:`is_view`, under AnnData's former name."""
        return self.is_view

    def obs_names_make_unique(self, join: str = "-") -> None:
        """Appends a number to repeated names."""
        self.obs_names = _unique(self.obs_names, join)

    def var_names_make_unique(self, join: str = "-") -> None:
        """Appends a number to repeated names."""
        self.var_names = _unique(self.var_names, join)

    def obs_keys(self) -> list[str]:
        return list(self.obs.columns)

    def var_keys(self) -> list[str]:
        return list(self.var.columns)

    def obsm_keys(self) -> list[str]:
        return self.obsm.keys()

    def varm_keys(self) -> list[str]:
        return self.varm.keys()

    def uns_keys(self) -> list[str]:
        return sorted(self.uns.keys())

    def rename_categories(self, key: str, categories: Sequence[Any]) -> None:
        """Renames the categories of a column of obs or var, in the order of the old
        ones, also in entries of uns that are grouped by it.

        Raises
        ------
        ValueError
            The column is not categorical, or has a different number of categories.
        """
        if isinstance(categories, Mapping):
            raise ValueError("Only list-like `categories` is supported.")
        names = list(categories)
        frame = next((f for f in (self.obs, self.var) if key in f.columns), None)
        if frame is None:
            raise ValueError(f"{key!r} is neither a column of obs nor of var.")
        column = frame[key]
        if not isinstance(column.dtype, pd.CategoricalDtype):
            raise ValueError(f"{key!r} is not categorical; its type is {column.dtype}.")
        old = list(column.cat.categories)
        frame[key] = column.cat.rename_categories(names)
        for section, found in self.uns.items():
            params = found.get("params") if isinstance(found, Mapping) else None
            if isinstance(params, Mapping) and params.get("groupby") == key:
                renamed = {k: _regrouped(v, old, names) for k, v in found.items()}
                if any(renamed[k] is not v for k, v in found.items()):
                    self.uns[section] = renamed

    def strings_to_categoricals(self, df: pd.DataFrame | None = None) -> None:
        """Converts text columns with repeated values to categoricals."""
        for frame in (self.obs, self.var) if df is None else (df,):
            for name in list(frame.columns):
                column = frame[name]
                if pd.api.types.infer_dtype(column, skipna=True) != "string":
                    continue
                if not isinstance(column.dtype, pd.CategoricalDtype):
                    as_category = column.astype("category")
                    if len(as_category.cat.categories) < len(as_category):
                        frame[name] = as_category

    _sanitize = strings_to_categoricals


def _regrouped(value: Any, old: list[Any], new: list[Any]) -> Any:
    """A record array with one field per group, under the new names of the groups."""
    fields = getattr(getattr(value, "dtype", None), "names", None)
    if fields is None or list(fields) != old:
        return value
    # A new dtype, because copies of an array share theirs.
    kinds = [value.dtype[at] for at in range(len(old))]
    return value.astype(list(zip(map(str, new), kinds, strict=True)))


def _unique(names: pd.Index, join: str) -> pd.Index:
    from anndata.utils import make_index_unique

    return make_index_unique(pd.Index(names), join)
