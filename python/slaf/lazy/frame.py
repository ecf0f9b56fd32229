"""obs and var: pandas frames whose columns are read when they are first used.

Names, length, single columns and lists of columns do not read other columns; neither
does setting or deleting a column. Any other pandas operation first reads all columns,
and the frame is an ordinary pandas frame from then on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import nearest
from slaf.ground import axes, metadata
from slaf.ground.hints import did_you_mean
from slaf.lazy.assigned import as_column, as_names
from slaf.lazy.columns import Changed, Columns, Framed, Place
from slaf.lazy.shown_frames import frame_html

#: Up to this many rows, pandas displays a frame, which reads all of them.
_SHOWN = 100_000


class LazyFrame(pd.DataFrame):
    """A frame over :class:`~slaf.lazy.columns.Columns`."""

    #: Its name in the handle, and the name of its index as a column.
    _called, _index_column = "The frame", "name"

    def __reduce__(self) -> Any:
        return _over, (type(self), snapshot(self).apart())

    def _before_change(self) -> None:
        if "_before" in self.__dict__:
            self.__dict__["_before"]()

    def _after_change(self, key: str | None) -> None:
        if "_after" in self.__dict__:
            self.__dict__["_after"](key)

    @property
    def _lazy(self) -> Changed | None:
        """The columns, until all of them are read."""
        return self.__dict__.get("_columns_read")

    def _plain(self, names: list[str], rows: axes.Positions | None = None) -> pd.DataFrame:
        lazy = self._lazy
        index = lazy.index(rows).view()
        found = {at: lazy.read(name, rows).array for at, name in enumerate(names)}
        frame = pd.DataFrame(found, index=index, copy=True)
        frame.columns = pd.Index(names, dtype=None if names else object)
        return frame

    # pandas keeps a frame's data in `_mgr`; code that uses it needs all columns.
    @property
    def _mgr(self) -> Any:
        state = self.__dict__
        if "_manager" not in state:
            state["_manager"] = whole(self)._mgr
            del state["_columns_read"]
        return state["_manager"]

    @_mgr.setter
    def _mgr(self, manager: Any) -> None:
        self.__dict__["_manager"] = manager
        self.__dict__.pop("_columns_read", None)

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    # What is known without the data ---------------------------------------

    @property
    def columns(self) -> pd.Index:
        lazy = self._lazy
        if lazy is None:
            return pd.DataFrame.columns.__get__(self, type(self))
        return pd.Index(lazy.names, dtype=None if lazy.names else object)

    @columns.setter
    def columns(self, names: Any) -> None:
        self._before_change()
        pd.DataFrame.columns.__set__(self, names)

    @property
    def index(self) -> pd.Index:
        lazy = self._lazy
        if lazy is None:
            return pd.DataFrame.index.__get__(self, type(self))
        if lazy.own_index is None:
            # A separate object, whose `name` can be set.
            lazy = lazy.named(lazy.index().view())
            self.__dict__["_columns_read"] = lazy
        return lazy.own_index

    @index.setter
    def index(self, names: Any) -> None:
        names = as_names(names)
        if len(names) != len(self):
            raise ValueError(
                f"Length mismatch: Expected axis has {len(self)} elements, new values have "
                f"{len(names)} elements"
            )
        self._before_change()
        lazy = self._lazy
        if lazy is None:
            pd.DataFrame.index.__set__(self, names)
        else:
            self.__dict__["_columns_read"] = lazy.named(names)
        self._after_change(None)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.columns)

    def __len__(self) -> int:
        lazy = self._lazy
        return len(super().index) if lazy is None else len(lazy)

    def keys(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns)

    # Columns --------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        one = isinstance(key, str)
        names = [key] if one else list(key) if isinstance(key, (list, pd.Index)) else []
        plain = len(names) > 0 and all(isinstance(name, str) for name in names)
        if plain:
            self._require(*names)
        if self._lazy is None or not plain:
            return super().__getitem__(key)
        return self._column(key) if one else self._plain(names)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            near = [] if name.startswith("_") else nearest(name, [str(n) for n in self.keys()])
            if not near:
                raise
            text = f"{self._called} has no column {name!r}.{did_you_mean(near)}"
        raise AttributeError(text, name=name, obj=self)

    def _require(self, *names: Any) -> None:
        known = self.keys()
        missing = next((name for name in names if name not in known), None)
        if missing is None:
            return
        near = did_you_mean(nearest(str(missing), [str(n) for n in known]))
        raise KeyError(f"{self._called} has no column {missing!r}.{near}")

    def _column(self, name: str) -> pd.Series:
        """A column as the frame returns it: edits that pandas allows on it reach the
        frame."""
        lazy = self._lazy
        if name not in lazy.held:
            lazy = lazy.having(name, lazy.read(name).copy())
            self.__dict__["_columns_read"] = lazy
        series = lazy.held[name].copy(deep=False)
        series.index, series.name = self.index, name
        return series

    def __setitem__(self, key: Any, value: Any) -> None:
        self._before_change()
        lazy = self._lazy
        if lazy is None or not isinstance(key, str):
            super().__setitem__(key, value)
            if isinstance(key, str):
                self._after_change(key)
            return
        index = lazy.index() if isinstance(value, (pd.Series, pd.DataFrame)) else None
        self.__dict__["_columns_read"] = lazy.having(key, as_column(value, index, len(lazy)))
        self._after_change(key)

    def __delitem__(self, key: Any) -> None:
        self._require(key)
        self._before_change()
        lazy = self._lazy
        if lazy is None:
            super().__delitem__(key)
        else:
            self.__dict__["_columns_read"] = lazy.without(key)
        self._after_change(key)

    def head(self, n: int = 5) -> pd.DataFrame:
        lazy = self._lazy
        return super().head(n) if lazy is None else self._plain(lazy.names, range(len(lazy))[:n])

    def tail(self, n: int = 5) -> pd.DataFrame:
        lazy = self._lazy
        if lazy is None:
            return super().tail(n)
        return self._plain(lazy.names, range(len(lazy))[-n:] if n else range(0))

    # Elsewhere ------------------------------------------------------------

    def to_arrow(self) -> Any:
        """An Arrow table with the names first (`cell_id` or `gene_id`). Columns that
        are stored unchanged share the engine's buffers."""
        import pyarrow as pa

        lazy, index = self._lazy, self.index
        columns = {self._index_column: pa.array(np.asarray(index, dtype=object), from_pandas=True)}
        for name in self.columns:
            column = None if lazy is None else lazy.arrow(name)
            if column is None or isinstance(self[name].dtype, pd.CategoricalDtype):
                column = metadata.encode_column(self[name], str(name), {})[0]
            columns[str(name)] = column
        return pa.table(columns)

    def to_polars(self) -> Any:
        """A Polars DataFrame; see :meth:`to_arrow`."""
        import polars as pl

        return pl.from_arrow(self.to_arrow())

    def __repr__(self) -> str:
        lazy = self._lazy
        if lazy is None or len(lazy) <= _SHOWN:
            return repr(pd.DataFrame(self) if lazy is None else whole(self))
        note = f"[{len(lazy):,} rows × {len(lazy.names)} columns, the first and the last 5]"
        return f"{pd.concat([self.head(), self.tail()])!r}\n\n{note}"

    def _repr_html_(self) -> str:
        return frame_html(snapshot(self), self._index_column)


class LazyObsView(LazyFrame):
    """The obs of a handle: the class of `handle.obs`."""

    _called, _index_column = "obs", "cell_id"

    def __new__(cls, lazy_adata: Any) -> LazyObsView:
        return lazy_adata.obs

    def __init__(self, lazy_adata: Any):
        """Accepts a handle, as slafdb does; `lazy_adata.obs` is the same."""


class LazyVarView(LazyFrame):
    """The var of a handle: the class of `handle.var`."""

    _called, _index_column = "var", "gene_id"

    def __new__(cls, lazy_adata: Any) -> LazyVarView:
        return lazy_adata.var

    def __init__(self, lazy_adata: Any):
        """Accepts a handle, as slafdb does; `lazy_adata.var` is the same."""


_FRAMES: dict[str, type[LazyFrame]] = {"obs": LazyObsView, "var": LazyVarView}


def frame_of(axis: str, columns: Columns) -> LazyFrame:
    """`obs` or `var` over `columns`."""
    return _over(_FRAMES[axis], columns)


def _over(kind: type[LazyFrame], columns: Columns) -> LazyFrame:
    frame = object.__new__(kind)
    pd.core.generic.NDFrame.__init__(frame, None)
    state = frame.__dict__
    del state["_manager"]
    state["_columns_read"] = Changed.of(columns)
    return frame


def snapshot(frame: LazyFrame) -> Columns:
    """The columns in their present state, to select rows from. The user may still edit
    columns that were returned before; to keep the state, take them
    :meth:`~Columns.apart`."""
    lazy = frame._lazy
    return Framed(frame.copy(deep=False)) if lazy is None else lazy


def whole(frame: LazyFrame) -> pd.DataFrame:
    """A plain pandas copy of all columns; `frame` stays lazy."""
    lazy = frame._lazy
    return pd.DataFrame(frame).copy() if lazy is None else frame._plain(lazy.names)


def watch(
    frame: LazyFrame, before: Callable[[], None], after: Callable[[str | None], None]
) -> None:
    """Registers functions to call before each change, and after a column was set or
    deleted or (None) the names changed."""
    frame.__dict__.update(_before=before, _after=after)


def detach(frame: LazyFrame) -> None:
    """Makes columns that were not returned yet independent."""
    lazy = frame._lazy
    if lazy is not None:
        inner = lazy.columns.apart()
        frame.__dict__["_columns_read"] = Changed(inner, lazy.names, lazy.held, lazy.own_index)


def place_of(frame: LazyFrame) -> Place | None:
    """The stored place of the columns; None if some may differ from the dataset: set,
    edited, or returned to the user."""
    return snapshot(frame).place()
