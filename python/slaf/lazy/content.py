"""What a handle holds, in its own order of cells and genes. Views of a handle
share its content; a view that is written to gets content of its own."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from slaf import _axis
from slaf.lazy.columns import Stored
from slaf.lazy.frame import FRAMES, LazyFrame
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.sources import noted_dtype

if TYPE_CHECKING:
    from slaf.array import SLAFArray

#: Reads some rows of a value along an axis.
Reader = Callable[[_axis.Positions], Any]

#: The axis, 0 or 1, of each section of arrays.
AXES = {"obsm": 0, "varm": 1, "obsp": 0, "varp": 1}


class Content:
    """Frames, matrices and readers over all cells and genes of a handle."""

    def __init__(self, shape: tuple[int, int]):
        self.shape = shape
        self.array: SLAFArray | None = None
        #: Where the cells and genes lie in the dataset.
        self.place: tuple[_axis.Positions, _axis.Positions] | None = None
        self.frames: dict[str, LazyFrame] = {}
        self.x: LazyExpressionMatrix | None = None
        self.layers: dict[str, LazyExpressionMatrix] = {}
        self.arrays: dict[str, dict[str, Reader]] = {section: {} for section in AXES}
        self._uns: dict[str, Any] | Callable[[], dict[str, Any]] = {}
        #: What was set and is not in the dataset, by section.
        self.fresh: dict[str, set[str]] = defaultdict(set)
        #: raw, a handle of the same cells, or what makes it.
        self.raw: Any = None

    @property
    def uns(self) -> dict[str, Any]:
        if callable(self._uns):
            self._uns = self._uns()
        return self._uns

    @uns.setter
    def uns(self, value: Mapping[str, Any]) -> None:
        self._uns = dict(value)

    def at(self, rows: _axis.Positions, columns: _axis.Positions, obs: Any, var: Any) -> Content:
        """A part, with the frames `obs` and `var`, that can be changed without
        the whole noticing."""
        part = Content((len(rows), len(columns)))
        part.array = self.array
        if self.place is not None:
            cells, genes = self.place
            part.place = _axis.compose(cells, rows), _axis.compose(genes, columns)
        part.frames = {"obs": obs, "var": var}
        part.x = None if self.x is None else self.x._at(rows, columns)
        part.layers = {key: layer._at(rows, columns) for key, layer in self.layers.items()}
        for section, axis in AXES.items():
            taken = (rows, columns)[axis]
            found = self.arrays[section].items()
            part.arrays[section] = {key: within(reader, taken) for key, reader in found}
        part.fresh.update({section: set(names) for section, names in self.fresh.items()})
        raw = self.raw
        part.raw = None if raw is None else (lambda: resolved(raw)[rows])
        return part


def resolved(raw: Any) -> Any:
    return raw() if callable(raw) else raw


def within(reader: Reader, outer: _axis.Positions) -> Reader:
    return lambda rows: reader(_axis.compose(outer, rows))


def held(value: Any) -> Reader:
    """A value in memory."""
    return lambda rows: _axis.take(value, rows)


def held_pairs(value: Any) -> Reader:
    """A square matrix in memory."""

    def read(rows: _axis.Positions) -> Any:
        if _axis.is_all(rows, value.shape[0]):
            return value
        index = np.asarray(rows, dtype=np.int64)
        return value[index][:, index]

    return read


def of_array(array: SLAFArray) -> Content:
    """All of a dataset."""
    content = Content(array.shape)
    content.array = array
    cells, genes = array.shape
    content.place = range(cells), range(genes)
    frames = {axis: frame._of(Stored(array, axis)) for axis, frame in FRAMES.items()}
    content.frames = frames
    names = lambda axis: frames["obs" if axis == 0 else "var"].index  # noqa: E731
    if not (array._notes.get("x") or {}).get("absent"):
        content.x = LazyExpressionMatrix(array)
        content.x._names = names
    for key in array._keys("layers"):
        content.layers[key] = layer = LazyExpressionMatrix(array, "layers", key)
        layer._names = names
    extras = array._extras
    for section, value in extras.get("layers", {}).items():
        from slaf.lazy.sources import Held

        content.layers[section] = LazyExpressionMatrix._of(Held(value), names)
    for section, table in (("obsm", "cells"), ("varm", "genes")):
        content.arrays[section] = _vectors(array, section, table)
    for section in ("obsp", "varp"):
        content.arrays[section] = _pairs(array, section)
    content._uns = lambda: _uns(array)
    if "raw" in array._notes:
        content.raw = lambda: _raw(array)
    return content


def _vectors(array: SLAFArray, section: str, table: str) -> dict[str, Reader]:
    noted = array._notes.get(section)
    stored = noted if noted is not None else {key: key for key in array._vectors(table)}
    readers: dict[str, Reader] = {}
    for key, column in stored.items():
        readers[key] = StoredVectors(array, table, column)
    for key, value in array._extras.get(section, {}).items():
        readers[key] = held(value)
    return readers


class StoredVectors:
    """Reads a column of vectors; who knows that it is one can search in it."""

    def __init__(self, array: SLAFArray, table: str, column: str):
        self._array, self.place = array, (table, column)

    def __call__(self, rows: _axis.Positions) -> np.ndarray:
        return self._array._vector(*self.place, rows)

    @property
    def searchable(self) -> bool:
        table, column = self.place
        return "Float32" in self._array._columns[table][column]


def _pairs(array: SLAFArray, section: str) -> dict[str, Reader]:
    def stored(key: str) -> Reader:
        def read(rows: _axis.Positions) -> Any:
            dtype, place = noted_dtype(array, section, key), _axis.argument(rows)
            arrays = array._dataset.pairs(section, key, place, place, dtype.name)
            indptr, indices, data = arrays
            n = len(rows)
            data = data.astype(dtype, copy=False)
            matrix = sparse.csr_matrix((data, indices, indptr), shape=(n, n), copy=False)
            dense = array._notes.get(section, {}).get(key, {}).get("dense")
            return matrix.toarray() if dense else matrix

        return read

    readers = {key: stored(key) for key in array._keys(section)}
    for key, value in array._extras.get(section, {}).items():
        readers[key] = held_pairs(value)
    return readers


def _uns(array: SLAFArray) -> dict[str, Any]:
    if "uns" in array._extras:
        return dict(array._extras["uns"])
    content = array._dataset.file("uns.json")
    return {} if content is None else json.loads(content)


def _raw(array: SLAFArray) -> Any:
    from slaf.array import SLAFArray
    from slaf.lazy.handle import LazyAnnData

    notes = array._notes
    inner = array._dataset.nested(notes["raw"], notes.get("raw_version"))
    handle = LazyAnnData(SLAFArray._of(inner))
    cells = array.shape[0]
    # An append may have made it longer since this version.
    return handle if handle.n_obs == cells else handle[:cells].copy()


def uns_of_part(uns: dict[str, Any], whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """uns for the frames `part` of the frames `whole`: colours of the categories
    that are left, as AnnData keeps them."""
    uns = dict(uns)
    for key in [key for key in uns if key.endswith("_colors")]:
        column, colors = key.removesuffix("_colors"), uns[key]
        for axis in ("obs", "var"):
            if column not in whole[axis].columns or np.ndim(colors) == 0:
                continue
            before, after = whole[axis][column], part[axis][column]
            if not isinstance(before.dtype, pd.CategoricalDtype):
                continue
            categories = before.cat.categories
            if len(colors) == len(categories):
                uns[key] = np.asarray(colors)[categories.isin(after.cat.categories)]
            else:
                del uns[key]
    return uns
