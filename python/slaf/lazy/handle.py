"""AnnData whose data stays where it is.

A handle is two sets of positions over a content. Slicing composes positions
and reads nothing; `to_adata()` reads exactly what the positions name.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from slaf import _axis
from slaf.lazy import content as contents
from slaf.lazy.columns import Framed
from slaf.lazy.content import Content
from slaf.lazy.foreign import refuse_scanpy
from slaf.lazy.frame import FRAMES, LazyFrame
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.views import (
    LazyLayersView,
    LazyObsmView,
    LazyObspView,
    LazyUnsView,
    LazyVarmView,
    LazyVarpView,
    as_matrix,
)

if TYPE_CHECKING:
    import anndata

    from slaf.array import SLAFArray


class LazyAnnData:
    """AnnData over a dataset, read on demand.

    `obs` and `var` are pandas frames whose columns are read when looked at; `X`
    and `layers` are lazy matrices; `obsm`, `varm`, `obsp`, `varp` and `uns` are
    read key by key. Slicing, with any key that AnnData takes, gives a view that
    reads only its part; a view that is written to becomes a handle of its own,
    as AnnData's do. What is written stays in the handle until :meth:`save`.

    Parameters
    ----------
    slaf_array
        The dataset.
    backend
        Accepted for slafdb's sake.
    """

    def __init__(self, slaf_array: SLAFArray, backend: str = "auto"):
        self._become(contents.of_array(slaf_array), backend=backend)

    @classmethod
    def _of(cls, content: Content, **state: Any) -> LazyAnnData:
        handle = cls.__new__(cls)
        handle._become(content, **state)
        return handle

    def _become(
        self,
        content: Content,
        part: tuple[_axis.Positions, _axis.Positions] | None = None,
        backend: str = "auto",
        write_through: bool = False,
    ) -> None:
        self._content = content
        self._view_part = part
        self._frames: dict[str, LazyFrame] = {}
        self._view_uns: dict[str, Any] | None = None
        self.backend = backend
        self._write_through = write_through
        if part is None:
            for axis, frame in content.frames.items():
                self._own_frame(axis, frame)

    def _own_frame(self, axis: str, frame: LazyFrame) -> None:
        self._content.frames[axis] = frame
        self._frames[axis] = frame
        self._watch(axis)

    def _set_write_through(self, write_through: bool) -> None:
        self._write_through = write_through

    # Shape and names ------------------------------------------------------

    @property
    def _part(self) -> tuple[_axis.Positions, _axis.Positions]:
        """Positions in the content."""
        if self._view_part is not None:
            return self._view_part
        rows, columns = self._content.shape
        return range(rows), range(columns)

    @property
    def slaf(self) -> SLAFArray | None:
        """The dataset; None of handles that are made of several."""
        return self._content.array

    @property
    def _cells(self) -> _axis.Positions:
        """Positions in the dataset."""
        return self._placed(0)

    @property
    def _genes(self) -> _axis.Positions:
        return self._placed(1)

    def _placed(self, axis: int) -> _axis.Positions:
        place = self._content.place
        return self._part[axis] if place is None else _axis.compose(place[axis], self._part[axis])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._part[0]), len(self._part[1])

    @property
    def n_obs(self) -> int:
        return self.shape[0]

    @property
    def n_vars(self) -> int:
        return self.shape[1]

    def __len__(self) -> int:
        return self.n_obs

    @property
    def is_view(self) -> bool:
        """Whether this is a part of another handle, whose content it shares."""
        return self._view_part is not None

    isbacked = False
    filename = None

    @property
    def _is_whole(self) -> bool:
        """Whether this is all of its dataset, in order."""
        if self.slaf is None:
            return False
        cells, genes = self.slaf.shape
        return _axis.is_all(self._cells, cells) and _axis.is_all(self._genes, genes)

    @property
    def obs_names(self) -> pd.Index:
        return self.obs.index

    @obs_names.setter
    def obs_names(self, names: Iterable[str]) -> None:
        self.obs.index = pd.Index(names)

    @property
    def var_names(self) -> pd.Index:
        return self.var.index

    @var_names.setter
    def var_names(self, names: Iterable[str]) -> None:
        self.var.index = pd.Index(names)

    def obs_names_make_unique(self, join: str = "-") -> None:
        """Appends a number to each name that came before."""
        self.obs_names = _unique(self.obs_names, join)

    def var_names_make_unique(self, join: str = "-") -> None:
        """Appends a number to each name that came before."""
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

    # Contents -------------------------------------------------------------

    @property
    def obs(self) -> LazyFrame:
        """Cell metadata, indexed by `obs_names`."""
        return self._frame("obs")

    @obs.setter
    def obs(self, frame: pd.DataFrame) -> None:
        self._set_frame("obs", frame)

    @property
    def var(self) -> LazyFrame:
        """Gene metadata, indexed by `var_names`."""
        return self._frame("var")

    @var.setter
    def var(self, frame: pd.DataFrame) -> None:
        self._set_frame("var", frame)

    @property
    def obs_deprecated(self) -> pd.DataFrame:
        """obs as a pandas frame that is read whole."""
        return self.obs._whole()

    @property
    def var_deprecated(self) -> pd.DataFrame:
        """var as a pandas frame that is read whole."""
        return self.var._whole()

    @property
    def X(self) -> LazyExpressionMatrix | None:
        """The expression matrix, unread; None if the source had none."""
        refuse_scanpy()
        return self._x

    @property
    def _x(self) -> LazyExpressionMatrix | None:
        x = self._content.x
        return None if x is None else x._at(*self._part)

    @X.setter
    def X(self, value: Any) -> None:
        matrix = None if value is None else as_matrix(value, self, "X")
        self._change("X", None)
        self._content.x = matrix

    @property
    def layers(self) -> LazyLayersView:
        return LazyLayersView(self)

    @layers.setter
    def layers(self, values: Mapping[str, Any]) -> None:
        _replace(self.layers, values)

    @property
    def obsm(self) -> LazyObsmView:
        return LazyObsmView(self)

    @obsm.setter
    def obsm(self, values: Mapping[str, Any]) -> None:
        _replace(self.obsm, values)

    @property
    def varm(self) -> LazyVarmView:
        return LazyVarmView(self)

    @varm.setter
    def varm(self, values: Mapping[str, Any]) -> None:
        _replace(self.varm, values)

    @property
    def obsp(self) -> LazyObspView:
        return LazyObspView(self)

    @obsp.setter
    def obsp(self, values: Mapping[str, Any]) -> None:
        _replace(self.obsp, values)

    @property
    def varp(self) -> LazyVarpView:
        return LazyVarpView(self)

    @varp.setter
    def varp(self, values: Mapping[str, Any]) -> None:
        _replace(self.varp, values)

    @property
    def uns(self) -> LazyUnsView:
        return LazyUnsView(self)

    @uns.setter
    def uns(self, values: Mapping[str, Any]) -> None:
        _replace(self.uns, values)

    @property
    def raw(self) -> LazyAnnData | None:
        """The cells of this handle with all genes of `raw`, or None."""
        content = self._content
        if content.raw is None:
            return None
        content.raw = contents.resolved(content.raw)
        return content.raw[self._part[0]] if self.is_view else content.raw

    @raw.setter
    def raw(self, value: Any) -> None:
        if value is not None and not isinstance(value, LazyAnnData):
            raise TypeError("raw of a lazy handle is a lazy handle, such as the handle itself.")
        copied = None if value is None else value.copy()
        if copied is not None and copied.n_obs != self.n_obs:
            raise ValueError(f"raw needs the {self.n_obs} cells, and this has {copied.n_obs}.")
        self._change("raw", None)
        self._content.raw = copied

    @raw.deleter
    def raw(self) -> None:
        self.raw = None

    def obs_vector(self, k: str, *, layer: str | None = None) -> np.ndarray:
        """A column of obs, or a gene's values in all cells: 1-d, dense.

        Raises
        ------
        KeyError
            There is neither.
        """
        return self._vector(k, layer, "obs")

    def var_vector(self, k: str, *, layer: str | None = None) -> np.ndarray:
        """A column of var, or a cell's values of all genes: 1-d, dense."""
        return self._vector(k, layer, "var")

    def _vector(self, key: str, layer: str | None, axis: str) -> np.ndarray:
        frame, other = (self.obs, self.var) if axis == "obs" else (self.var, self.obs)
        if key in frame.columns:
            if key in other.index:
                raise ValueError(f"{key!r} is both a column of {axis} and a name of the other.")
            return frame[key].values
        matrix = self._x if layer in (None, "X") else self._content.layers[layer]._at(*self._part)
        if matrix is None:
            raise KeyError(f"{key!r} is no column of {axis}, and there is no X.")
        part = matrix[:, key] if axis == "obs" else matrix[key]
        return part.toarray().ravel()

    # Slicing --------------------------------------------------------------

    def __getitem__(self, key: Any) -> LazyAnnData:
        rows, columns = _axis.split_key(key)
        inside = (
            _axis.positions(rows, self.n_obs, lambda: self.obs_names, "obs"),
            _axis.positions(columns, self.n_vars, lambda: self.var_names, "var"),
        )
        part = tuple(_axis.compose(outer, i) for outer, i in zip(self._part, inside, strict=True))
        view = LazyAnnData._of(self._content, part=part, backend=self.backend)
        for axis, at in (("obs", 0), ("var", 1)):
            frame = self._frames.get(axis)
            if frame is not None and frame is not self._content.frames[axis]:
                # This view's frame may have been written to.
                view._frames[axis] = frame._taken(inside[at])
                view._watch(axis)
        return view

    def copy(self, filename: Any = None) -> LazyAnnData:
        """A handle of its own of the same cells and genes; data is not copied."""
        return LazyAnnData._of(self._copied(), backend=self.backend)

    def _copied(self) -> Content:
        whole = range(self.n_obs), range(self.n_vars)
        frames = (
            frame._taken(rows) if self.is_view else type(frame)._of(frame._snapshot())
            for frame, rows in zip((self.obs, self.var), whole, strict=True)
        )
        return self._with_uns(self._content.at(*self._part, *frames))

    def _with_uns(self, content: Content) -> Content:
        """`content`, which was taken from this handle, with its uns."""
        if not self.is_view:
            uns = self._content._uns
            content._uns = uns if callable(uns) else dict(uns)
        else:
            view = LazyAnnData._of(self._content, part=self._part)
            view._frames, view._view_uns = dict(self._frames), self._view_uns
            content._uns = lambda: dict(view._uns())
        return content

    def _uns(self) -> dict[str, Any]:
        if not self.is_view:
            return self._content.uns
        if self._view_uns is None:
            frames = {"obs": self.obs, "var": self.var}
            self._view_uns = contents.uns_of_part(self._content.uns, self._content.frames, frames)
        return self._view_uns

    @property
    def T(self) -> LazyAnnData:
        """Genes × cells, as lazy as this."""
        turned = Content(self.shape[::-1])
        turned.frames = {
            "obs": FRAMES["obs"]._of(self.var._snapshot()),
            "var": FRAMES["var"]._of(self.obs._snapshot()),
        }
        turned.x = None if self._x is None else self._x.T
        turned.layers = {k: m._at(*self._part).T for k, m in self._content.layers.items()}
        for section, other in (("obsm", "varm"), ("obsp", "varp")):
            for here, there in ((section, other), (other, section)):
                axis = contents.AXES[there]
                readers = self._content.arrays[there].items()
                turned.arrays[here] = {k: contents.within(r, self._part[axis]) for k, r in readers}
        turned.uns = dict(self._content.uns)
        return LazyAnnData._of(turned)

    def transpose(self) -> LazyAnnData:
        return self.T

    def _inplace_subset_obs(self, key: Any) -> None:
        self._subset(self[key])

    def _inplace_subset_var(self, key: Any) -> None:
        self._subset(self[:, key])

    def _subset(self, view: LazyAnnData) -> None:
        """Becomes what `view` shows."""
        self._become(view._copied(), backend=self.backend, write_through=self._write_through)

    def chunked_X(self, chunk_size: int | None = None) -> Iterator[tuple[Any, int, int]]:
        """`(block, start, end)` of X."""
        return self._x.chunked(chunk_size or 6000)

    # Changing -------------------------------------------------------------

    def _change(self, section: str, key: str | None) -> None:
        """Is about to change: a view gets content of its own."""
        if not self.is_view:
            return
        from anndata import ImplicitModificationWarning

        what = f"`.{section}`" if section in ("obs", "var") else f"element `.{section}['{key}']`"
        warnings.warn(
            f"Trying to modify {what} of view, initializing view as actual.",
            ImplicitModificationWarning,
            stacklevel=4,
        )
        self._actualise()

    def _actualise(self) -> None:
        obs, var = self.obs, self.var
        content = self._with_uns(self._content.at(*self._part, obs, var))
        self._become(content, backend=self.backend)

    def _changed(self, section: str, key: str) -> None:
        self._content.fresh[section].add(key)
        if self._write_through:
            self.save(**{section: [key]})

    def _frame(self, axis: str) -> LazyFrame:
        if axis not in self._frames:
            rows = self._part[0 if axis == "obs" else 1]
            self._frames[axis] = self._content.frames[axis]._taken(rows)
            self._watch(axis)
        return self._frames[axis]

    def _watch(self, axis: str) -> None:
        self._frames[axis]._watch(
            lambda: self._change(axis, None),
            lambda key: self._changed(axis, key),
        )

    def _set_frame(self, axis: str, frame: pd.DataFrame) -> None:
        n = self.shape[0 if axis == "obs" else 1]
        if not isinstance(frame, pd.DataFrame):
            raise ValueError(f"Can only assign pd.DataFrame to {axis}.")
        if len(frame) != n:
            raise ValueError(
                f"Length of passed value for {axis}_names is {len(frame)}, but this AnnData has "
                f"shape: {self.shape}"
            )
        self._change(axis, None)
        columns = frame._snapshot() if isinstance(frame, LazyFrame) else Framed(frame.copy())
        self._own_frame(axis, FRAMES[axis]._of(columns))

    def save(self, **sections: Any) -> int:
        """Stores what was set in the handle in its dataset: as new columns and
        tables, published at once as a new version, and nothing is rewritten.

        Parameters
        ----------
        obs, var, obsm, varm, layers, obsp, varp, uns
            The names to store, or True for all that the dataset lacks or has
            otherwise.

        Returns
        -------
        The number of the version.

        Raises
        ------
        ValueError
            The handle is not all of its dataset, or a section has no such name.
        OSError
            Somebody else has changed the dataset meanwhile, or it cannot be
            written to.
        """
        from slaf.lazy.save import save

        return save(self, sections)

    def strings_to_categoricals(self, df: pd.DataFrame | None = None) -> None:
        """Turns text columns that repeat themselves into categoricals."""
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

    # Export ---------------------------------------------------------------

    def to_adata(self) -> anndata.AnnData:
        """Reads everything of this handle into a real AnnData. X and layers are
        CSR."""
        from slaf.lazy import export

        return export.to_adata(self)

    compute = to_adata

    def to_memory(self) -> csr_matrix:
        """X as scipy CSR (slafdb's meaning; `to_adata` gives the whole)."""
        return self.get_expression_data()

    def get_expression_data(self) -> csr_matrix:
        """X as scipy CSR."""
        if self._x is None:
            return csr_matrix(self.shape, dtype=np.float32)
        x = self._x.compute()
        return x if issparse(x) else csr_matrix(x)

    def to_df(self, layer: str | None = None) -> pd.DataFrame:
        """X, or a layer, as a dense frame of cells × genes."""
        matrix = self._x if layer is None else self.layers[layer]
        if matrix is None:
            raise ValueError("X is None, cannot convert to dataframe.")
        return pd.DataFrame(matrix.toarray(), index=self.obs_names, columns=self.var_names)

    def to_arrow(self, layer: str | None = None) -> Any:
        """X, or a layer, as an Arrow table: see :func:`slaf.lazy.export.to_arrow`."""
        from slaf.lazy import export

        return export.to_arrow(self, layer)

    def to_polars(self, layer: str | None = None) -> Any:
        """The same as a polars frame."""
        import polars as pl

        return pl.from_arrow(self.to_arrow(layer))

    def to_torch(self, layer: str | None = None) -> Any:
        """X, or a layer, as a torch CSR tensor over the same buffers."""
        from slaf.lazy import export

        return export.to_torch(self, layer)

    def write_h5ad(
        self,
        filename: str | os.PathLike[str],
        *,
        compression: str | None = None,
        overwrite: bool = True,
    ) -> None:
        """Writes an h5ad file in bounded memory; see
        :func:`slaf.data.exporter.export_h5ad`."""
        from slaf.data.exporter import export_h5ad

        export_h5ad(self, filename, compression=compression, overwrite=overwrite)

    def write(self, filename: str) -> None:
        """Writes an h5ad file, as :meth:`write_h5ad`."""
        self.write_h5ad(filename)

    # Showing --------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        refuse_scanpy()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def __class__(self) -> type[LazyAnnData]:
        # scanpy asks for the class of what is no AnnData, and goes wrong later.
        refuse_scanpy()
        return type(self)

    def __repr__(self) -> str:
        from slaf import _display

        return _display.handle_text(self)

    def _repr_html_(self) -> str:
        from slaf import _display

        return _display.handle_html(self)


def _replace(view: Any, values: Mapping[str, Any]) -> None:
    values = dict(values)
    for key in view.keys():
        if key not in values:
            del view[key]
    for key, value in values.items():
        view[key] = value


def _unique(names: pd.Index, join: str) -> pd.Index:
    from anndata.utils import make_index_unique

    return make_index_unique(pd.Index(names), join)
