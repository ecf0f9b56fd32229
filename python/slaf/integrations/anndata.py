"""AnnData whose data stays where it is.

A handle is two sets of positions over a dataset. Slicing composes positions
and reads nothing; `compute()` reads exactly what the positions name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from slaf import _axis
from slaf.array import SLAFArray

if TYPE_CHECKING:
    import anndata

#: Rows that a streamed reduction holds at once.
_CHUNK = 8192


def read_slaf(
    filename: str | os.PathLike[str],
    backend: str = "auto",
    *,
    version: int | None = None,
    storage_options: dict[str, str] | None = None,
) -> LazyAnnData:
    """Opens the dataset `filename` as a lazy AnnData; nothing is read yet.
    Parameters as :class:`~slaf.SLAFArray`.

    Raises
    ------
    FileNotFoundError
        Nothing is there.
    SlafError
        It is not a SLAF dataset, or its tables cannot be read.
    """
    array = SLAFArray(filename, version=version, storage_options=storage_options)
    return LazyAnnData(array, backend=backend)


class LazyExpressionMatrix:
    """A cells × genes matrix that is read when computed.

    Slicing takes every key that AnnData takes and gives another lazy matrix.
    """

    def __init__(
        self,
        slaf_array: SLAFArray,
        table_name: str = "expression",
        layer_name: str | None = None,
        *,
        _positions: tuple[_axis.Positions, _axis.Positions] | None = None,
    ):
        self.slaf = slaf_array
        self.table_name = table_name
        self.layer_name = layer_name
        cells, genes = slaf_array.shape
        self._cells, self._genes = _positions or (range(cells), range(genes))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._cells), len(self._genes)

    @property
    def dtype(self) -> np.dtype:
        """The dtype that :meth:`compute` gives."""
        if self.layer_name is None:
            return self.slaf._x_dtype
        return _noted_dtype(self.slaf, "layers", self.layer_name)

    @property
    def obs_names(self) -> pd.Index:
        return _axis.take(self.slaf._obs_names, self._cells)

    @property
    def var_names(self) -> pd.Index:
        return _axis.take(self.slaf._var_names, self._genes)

    def __getitem__(self, key: Any) -> LazyExpressionMatrix:
        rows, columns = _axis.split_key(key)
        cells = _axis.positions(rows, self.shape[0], lambda: self.obs_names, "obs")
        genes = _axis.positions(columns, self.shape[1], lambda: self.var_names, "var")
        return LazyExpressionMatrix(
            self.slaf,
            self.table_name,
            self.layer_name,
            _positions=(_axis.compose(self._cells, cells), _axis.compose(self._genes, genes)),
        )

    def compute(self, fragments: bool | None = None) -> csr_matrix:
        """Reads the matrix: scipy CSR with sorted rows, whose arrays are the
        engine's own buffers. `fragments` is accepted for slafdb's sake."""
        if self.layer_name is None:
            indptr, indices, data = self.slaf._csr(self._cells, self._genes)
        else:
            indptr, indices, data = self.slaf._dataset.pairs(
                "layers",
                self.layer_name,
                _axis.argument(self._cells),
                _axis.argument(self._genes),
                self.dtype.name,
            )
            data = data.astype(self.dtype, copy=False)
        matrix = csr_matrix((data, indices, indptr), shape=self.shape, copy=False)
        matrix.has_sorted_indices = True
        return matrix

    def _stored_values(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """indptr, indices and data of X in the type that it is stored in."""
        dataset = self.slaf._dataset
        cells, genes = _axis.argument(self._cells), _axis.argument(self._genes)
        indptr, indices, data = dataset.csr(cells, genes, dataset.value_dtype)
        return indptr.astype(np.int64), indices, data

    def toarray(self) -> np.ndarray:
        """Reads the matrix: a dense array."""
        return self.compute().toarray()

    def chunks(self, rows: int = _CHUNK) -> Iterator[csr_matrix]:
        """The matrix as CSR blocks of `rows` rows, in order."""
        for start in range(0, self.shape[0], rows):
            yield self[start : start + rows].compute()

    def sum(self, axis: int | None = None, fragments: bool | None = None) -> Any:
        """Sums in float64, zeros counted: a number, per column (`axis=0`) or per
        row (`axis=1`). Streamed in bounded memory."""
        parts = [block.sum(axis=axis, dtype=np.float64) for block in self.chunks()]
        if axis == 1:
            return np.concatenate([np.asarray(p).ravel() for p in parts]) if parts else np.zeros(0)
        if axis == 0:
            total = np.zeros(self.shape[1])
            for part in parts:
                total += np.asarray(part).ravel()
            return total
        return float(sum(parts))

    def mean(self, axis: int | None = None, fragments: bool | None = None) -> Any:
        """Means in float64, zeros counted, as :meth:`sum`."""
        count = {None: self.shape[0] * self.shape[1], 0: self.shape[0], 1: self.shape[1]}[axis]
        return self.sum(axis) / count

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.toarray(), dtype=dtype)

    @property
    def _stored(self) -> int | None:
        """How many values are stored, where that is known without reading."""
        whole = self.layer_name is None and self.shape == self.slaf.shape
        return self.slaf._dataset.nnz if whole else None

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"LazyExpressionMatrix of {rows} × {columns}, {self.dtype}; compute() reads it"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        from slaf import _display

        html, text = _display.matrix(self)
        return {"text/html": html, "text/plain": text}


class _View(Mapping):
    """A mapping whose values are read when looked up."""

    def __init__(self, name: str, keys: Callable[[], list[str]], read: Callable[[str], Any]):
        self._name, self._keys, self._read = name, keys, read

    def __getitem__(self, key: str) -> Any:
        keys = self._keys()
        if key not in keys:
            from slaf._slaf import nearest

            near = nearest(str(key), keys) or keys[:4]
            hint = f" It has {', '.join(repr(k) for k in near)}." if near else " It is empty."
            raise KeyError(f"{key!r} is not in {self._name}.{hint}")
        return self._read(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def __repr__(self) -> str:
        return f"{self._name} with keys: {', '.join(self._keys())}"


class LazyAnnData:
    """AnnData over a dataset, read on demand.

    `obs` and `var` are pandas frames, read when first asked for; `X` and
    `layers` are lazy matrices; `obsm`, `varm`, `obsp`, `varp` and `uns` are
    read key by key. Slicing, with any key that AnnData takes, gives a handle
    that reads only its part.
    """

    def __init__(
        self,
        slaf_array: SLAFArray,
        backend: str = "auto",
        *,
        _positions: tuple[_axis.Positions, _axis.Positions] | None = None,
    ):
        self.slaf = slaf_array
        self.backend = backend
        cells, genes = slaf_array.shape
        self._cells, self._genes = _positions or (range(cells), range(genes))
        self._frames: dict[str, pd.DataFrame] = {}

    # Shape and names ------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._cells), len(self._genes)

    @property
    def n_obs(self) -> int:
        return len(self._cells)

    @property
    def n_vars(self) -> int:
        return len(self._genes)

    def __len__(self) -> int:
        return self.n_obs

    @property
    def is_view(self) -> bool:
        """Whether this is a part of its dataset."""
        cells, genes = self.slaf.shape
        return not (_axis.is_all(self._cells, cells) and _axis.is_all(self._genes, genes))

    @property
    def obs_names(self) -> pd.Index:
        return _axis.take(self.slaf._obs_names, self._cells)

    @property
    def var_names(self) -> pd.Index:
        return _axis.take(self.slaf._var_names, self._genes)

    # Contents -------------------------------------------------------------

    @property
    def obs(self) -> pd.DataFrame:
        """Cell metadata, indexed by `obs_names`."""
        return self._frame("obs", self._cells)

    @property
    def var(self) -> pd.DataFrame:
        """Gene metadata, indexed by `var_names`."""
        return self._frame("var", self._genes)

    @property
    def X(self) -> LazyExpressionMatrix | None:
        """The expression matrix, unread; None if the source had none."""
        if (self.slaf._notes.get("x") or {}).get("absent"):
            return None
        return LazyExpressionMatrix(self.slaf, _positions=(self._cells, self._genes))

    @property
    def layers(self) -> Mapping[str, LazyExpressionMatrix]:
        def read(key: str) -> LazyExpressionMatrix:
            place = (self._cells, self._genes)
            return LazyExpressionMatrix(self.slaf, "layers", key, _positions=place)

        return _View("layers", lambda: self.slaf._keys("layers"), read)

    @property
    def obsm(self) -> Mapping[str, Any]:
        return self._arrays("obsm", "cells", self._cells)

    @property
    def varm(self) -> Mapping[str, Any]:
        return self._arrays("varm", "genes", self._genes)

    @property
    def obsp(self) -> Mapping[str, Any]:
        return self._pairs("obsp", self._cells)

    @property
    def varp(self) -> Mapping[str, Any]:
        return self._pairs("varp", self._genes)

    @property
    def uns(self) -> Mapping[str, Any]:
        return _View("uns", lambda: list(self._uns), lambda key: self._uns[key])

    @property
    def raw(self) -> LazyAnnData | None:
        """The cells of this handle with all genes of `raw`, or None."""
        path = self.slaf._notes.get("raw")
        if path is None:
            return None
        version = self.slaf._notes.get("raw_version")
        inner = SLAFArray._of(self.slaf._dataset.nested(path, version))
        return LazyAnnData(inner, _positions=(self._cells, range(inner.shape[1])))

    # Slicing --------------------------------------------------------------

    def __getitem__(self, key: Any) -> LazyAnnData:
        rows, columns = _axis.split_key(key)
        cells = _axis.positions(rows, self.n_obs, lambda: self.obs_names, "obs")
        genes = _axis.positions(columns, self.n_vars, lambda: self.var_names, "var")
        place = (_axis.compose(self._cells, cells), _axis.compose(self._genes, genes))
        return LazyAnnData(self.slaf, self.backend, _positions=place)

    def copy(self) -> LazyAnnData:
        """The same handle again; data is not copied."""
        return LazyAnnData(self.slaf, self.backend, _positions=(self._cells, self._genes))

    # Export ---------------------------------------------------------------

    def to_adata(self) -> anndata.AnnData:
        """Reads everything of this handle into a real AnnData. X and layers are
        CSR."""
        adata = self._to_adata()
        if (raw := self.raw) is not None:
            adata.raw = raw.to_adata()
        return adata

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

    def _to_adata(self, x: bool = True, layers: bool = True) -> anndata.AnnData:
        import anndata

        matrix, uns = self.X if x else None, dict(self.uns)
        for axis in ("obs", "var") if self.is_view else ():
            _subset_colors(uns, self.slaf._pandas(axis), getattr(self, axis))
        return anndata.AnnData(
            X=None if matrix is None else matrix.compute(),
            obs=self.obs.copy(),
            var=self.var.copy(),
            obsm=dict(self.obsm),
            varm=dict(self.varm),
            obsp=dict(self.obsp),
            varp=dict(self.varp),
            layers={k: v.compute() for k, v in self.layers.items()} if layers else None,
            uns=uns,
            shape=self.shape if matrix is None else None,
        )

    compute = to_adata

    def to_memory(self) -> csr_matrix:
        """X as scipy CSR (slafdb's meaning; `to_adata` gives the whole)."""
        return self.get_expression_data()

    def get_expression_data(self) -> csr_matrix:
        """X as scipy CSR."""
        x = self.X
        return csr_matrix(self.shape, dtype=np.float32) if x is None else x.compute()

    def __repr__(self) -> str:
        from slaf import _display

        return _display.handle_text(self)

    def _repr_html_(self) -> str:
        from slaf import _display

        return _display.handle_html(self)

    # Reading --------------------------------------------------------------

    def _frame(self, axis: str, selected: _axis.Positions) -> pd.DataFrame:
        if axis not in self._frames:
            frame = self.slaf._pandas(axis)
            extra = self._extras.get(axis)
            if extra is not None:
                frame = frame.join(extra.set_axis(frame.index), how="left")
            part = _axis.take(frame, selected)
            if part is not frame:
                part = part.copy()
                for column in part.select_dtypes("category"):
                    part[column] = part[column].cat.remove_unused_categories()
            self._frames[axis] = part
        return self._frames[axis]

    @property
    def _extras(self) -> dict[str, Any]:
        if not hasattr(self.slaf, "_extras_read"):
            self.slaf._extras_read = self.slaf._extras()
        return self.slaf._extras_read

    @property
    def _uns(self) -> dict[str, Any]:
        if "uns" in self._extras:
            return self._extras["uns"]
        content = self.slaf._dataset.file("uns.json")
        return {} if content is None else json.loads(content)

    def _arrays(self, section: str, table: str, selected: _axis.Positions) -> _View:
        extra = self._extras.get(section, {})
        noted = self.slaf._notes.get(section)
        stored = noted if noted is not None else {k: k for k in self.slaf._vectors(table)}

        def read(key: str) -> Any:
            if key in stored:
                return _axis.take(self.slaf._vector(table, stored[key]), selected)
            return _axis.take(extra[key], selected)

        return _View(section, lambda: [*stored, *extra], read)

    def _pairs(self, section: str, selected: _axis.Positions) -> _View:
        extra = self._extras.get(section, {})
        stored = self.slaf._keys(section)

        def read(key: str) -> Any:
            if key not in stored:
                index = np.asarray(selected, dtype=np.int64)
                return extra[key][index][:, index]
            dtype = _noted_dtype(self.slaf, section, key)
            place = _axis.argument(selected)
            indptr, indices, data = self.slaf._dataset.pairs(section, key, place, place, dtype.name)
            n = len(selected)
            matrix = csr_matrix((data.astype(dtype, copy=False), indices, indptr), shape=(n, n))
            dense = self.slaf._notes.get(section, {}).get(key, {}).get("dense")
            return matrix.toarray() if dense else matrix

        return _View(section, lambda: [*stored, *extra], read)


def _subset_colors(uns: dict[str, Any], whole: pd.DataFrame, part: pd.DataFrame) -> None:
    """Colours of the categories that are left, as AnnData keeps them."""
    for column in whole.select_dtypes("category"):
        colors = uns.get(f"{column}_colors")
        if colors is None or np.ndim(colors) == 0:
            continue
        categories = whole[column].cat.categories
        if len(colors) == len(categories):
            left = categories.isin(part[column].cat.categories)
            uns[f"{column}_colors"] = np.asarray(colors)[left]
        else:
            del uns[f"{column}_colors"]


def _noted_dtype(array: SLAFArray, section: str, key: str) -> np.dtype:
    noted = array._notes.get(section, {}).get(key, {}).get("dtype")
    if noted:
        return np.dtype(noted)
    table = {"layers": "layers", "obsp": "cellsxcells", "varp": "genesxgenes"}[section]
    kinds = {"Float": "float32", "Float32": "float32", "Float64": "float64", "UInt16": "uint16"}
    return np.dtype(kinds.get(array._columns[table][key], "float64"))
