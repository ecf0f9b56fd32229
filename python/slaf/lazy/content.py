"""What a handle holds, in its own order of cells and genes. Views of a handle
share its content; a view that is written to gets content of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slaf import _axis
from slaf.lazy.columns import Columns, Stored
from slaf.lazy.frame import FRAMES, LazyFrame
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.readers import (
    AXES,
    SQUARE,
    Reader,
    StoredExtra,
    StoredPairs,
    StoredVectors,
    part_of,
)
from slaf.lazy.sources import Held

if TYPE_CHECKING:
    from slaf.array import SLAFArray


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
        #: raw, a handle of the same cells, or what makes it.
        self.raw: Any = None
        #: X and layers as they are in the dataset: no need to save them.
        self.settled_x: LazyExpressionMatrix | None = None
        self.settled: dict[str, LazyExpressionMatrix] = {}

    @property
    def uns(self) -> dict[str, Any]:
        if callable(self._uns):
            self._uns = self._uns()
        return self._uns

    @uns.setter
    def uns(self, value: Mapping[str, Any]) -> None:
        self._uns = dict(value)

    def names(self, axis: int) -> pd.Index:
        """obs_names (0) or var_names (1), as they are now."""
        return self.frames["obs" if axis == 0 else "var"].index

    def at(
        self, rows: _axis.Positions, columns: _axis.Positions, frames: dict[str, LazyFrame]
    ) -> Content:
        """A part, with `frames`, that can be changed without the whole noticing,
        and the whole without it. uns is left to the caller."""
        part = Content((len(rows), len(columns)))
        part.array = self.array
        if self.place is not None:
            cells, genes = self.place
            part.place = _axis.compose(cells, rows), _axis.compose(genes, columns)
        part.frames = frames
        taken = lambda matrix: matrix._at(rows, columns)._named(part.names)  # noqa: E731
        part.x = None if self.x is None else taken(self.x)
        part.settled_x = part.x if self.x is self.settled_x else None
        for key, layer in self.layers.items():
            part.layers[key] = taken(layer)
            if self.settled.get(key) is layer:
                part.settled[key] = part.layers[key]
        for section, axis in AXES.items():
            found = self.arrays[section].items()
            part.arrays[section] = {k: part_of(r, (rows, columns)[axis]) for k, r in found}
        raw = self.raw
        if callable(raw):
            part.raw = raw if _axis.is_all(rows, self.shape[0]) else partial(_rows_of, raw, rows)
        else:
            part.raw = None if raw is None else raw[rows].copy()
        return part

    def turned(self) -> Content:
        """Genes × cells. This one is used no more."""
        turned = Content(self.shape[::-1])
        for axis, other in (("obs", "var"), ("var", "obs")):
            turned.frames[axis] = FRAMES[axis]._of(self.frames[other]._snapshot())
        for section, other in (("obsm", "varm"), ("obsp", "varp")):
            turned.arrays[section] = self.arrays[other]
            turned.arrays[other] = self.arrays[section]
        turned.x = None if self.x is None else self.x.T._named(turned.names)
        turned.layers = {k: m.T._named(turned.names) for k, m in self.layers.items()}
        turned._uns = self._uns
        return turned

    def __getstate__(self) -> dict[str, Any]:
        # Names are the frames'; they are not sent again with each matrix.
        nameless = lambda m: None if m is None else m._named(None)  # noqa: E731
        state = dict(self.__dict__, x=nameless(self.x))
        state["layers"] = {key: nameless(layer) for key, layer in self.layers.items()}
        state["settled_x"] = self.x is self.settled_x
        state["settled"] = [k for k, m in self.layers.items() if self.settled.get(k) is m]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.x = None if self.x is None else self.x._named(self.names)
        self.layers = {key: layer._named(self.names) for key, layer in self.layers.items()}
        self.settled_x = self.x if state["settled_x"] else None
        self.settled = {key: self.layers[key] for key in state["settled"]}


def resolved(raw: Any) -> Any:
    return raw() if callable(raw) else raw


def _rows_of(raw: Callable[[], Any], rows: _axis.Positions) -> Any:
    return raw()[rows].copy()


def of_array(array: SLAFArray) -> Content:
    """All of a dataset."""
    content = Content(array.shape)
    content.array = array
    cells, genes = array.shape
    content.place = range(cells), range(genes)
    content.frames = {axis: frame._of(Stored(array, axis)) for axis, frame in FRAMES.items()}
    if not (array._notes.get("x") or {}).get("absent"):
        content.x = LazyExpressionMatrix(array)._named(content.names)
    layers = {key: LazyExpressionMatrix(array, "layers", key) for key in array._keys("layers")}
    for key, value in array._extras.get("layers", {}).items():
        layers[key] = LazyExpressionMatrix._of(Held(value))
    content.layers = {key: layer._named(content.names) for key, layer in layers.items()}
    content.settled_x, content.settled = content.x, dict(content.layers)
    content.arrays = arrays_of(array)
    content._uns = partial(uns_of, array)
    content.raw = raw_of(array)
    return content


def arrays_of(array: SLAFArray) -> dict[str, dict[str, Reader]]:
    """Readers of obsm, varm, obsp and varp of a dataset."""
    readers: dict[str, dict[str, Reader]] = {}
    for section, table in (("obsm", "cells"), ("varm", "genes")):
        noted = array._notes.get(section)
        stored = noted if noted is not None else {key: key for key in array._vectors(table)}
        readers[section] = {k: StoredVectors(array, table, column) for k, column in stored.items()}
    for section in SQUARE:
        readers[section] = {key: StoredPairs(array, section, key) for key in array._keys(section)}
    for section, found in readers.items():
        for key in array._extras.get(section, {}):
            found[key] = StoredExtra(array, section, key)
    return readers


def uns_of(array: SLAFArray) -> dict[str, Any]:
    """uns of a dataset, anew."""
    if "uns" in array._extras:
        return deepcopy(dict(array._extras["uns"]))
    content = array._dataset.file("uns.json")
    return {} if content is None else json.loads(content)


def raw_of(array: SLAFArray) -> Callable[[], Any] | None:
    """What makes raw of a dataset, or None."""
    return partial(_raw, array) if "raw" in array._notes else None


def _raw(array: SLAFArray) -> Any:
    from slaf.lazy.handle import LazyAnnData

    notes = array._notes
    handle = LazyAnnData(array._inside(notes["raw"], notes.get("raw_version")))
    cells = array.shape[0]
    # An append may have made it longer since this version.
    return handle if handle.n_obs == cells else handle[:cells].copy()


def uns_of_part(
    uns: dict[str, Any] | Callable[[], dict[str, Any]],
    whole: dict[str, Columns],
    part: dict[str, Columns],
) -> dict[str, Any]:
    """A copy of uns for the columns `part` of the columns `whole`: colours of the
    categories that are left, as AnnData keeps them."""
    uns = uns() if callable(uns) else deepcopy(uns)
    for key in [key for key in uns if str(key).endswith("_colors")]:
        column = key.removesuffix("_colors")
        for axis in ("obs", "var"):
            colors = uns.get(key)
            if column not in whole[axis].names or np.ndim(colors) == 0:
                continue
            before, after = whole[axis].read(column), part[axis].read(column)
            if not isinstance(before.dtype, pd.CategoricalDtype):
                continue
            categories = before.cat.categories
            if len(colors) == len(categories):
                uns[key] = np.asarray(colors)[categories.isin(after.cat.categories)]
            else:
                del uns[key]
    return uns
