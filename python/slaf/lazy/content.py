"""The content of a handle, in its own order of cells and genes. Views of a handle share
its content. When a view is written to, it gets its own content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd

from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.lazy.columns import Columns
from slaf.lazy.frame import LazyFrame, frame_of, snapshot
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import AXES, Reader, part_of


class Raw(Protocol):
    """The raw of a handle: the same cells, with their own genes."""

    def of_cells(self, rows: axes.Positions) -> Raw:
        """A copy of some cells."""
        ...


class Content:
    """Frames, matrices and readers over all cells and genes of a handle."""

    def __init__(self, shape: tuple[int, int]):
        self.shape = shape
        self.dataset: Dataset | None = None
        #: The positions of the cells and genes in the dataset.
        self.place: tuple[axes.Positions, axes.Positions] | None = None
        self.frames: dict[str, LazyFrame] = {}
        self.x: MatrixPlan | None = None
        self.layers: dict[str, MatrixPlan] = {}
        self.arrays: dict[str, dict[str, Reader]] = {section: {} for section in AXES}
        #: uns, or a function that reads it.
        self.lazy_uns: dict[str, Any] | Callable[[], dict[str, Any]] = {}
        #: raw, with the same cells, or a function that opens it.
        self.raw: Raw | Callable[[], Raw] | None = None
        #: X and layers as they are in the dataset; they need not be saved.
        self.settled_x: MatrixPlan | None = None
        self.settled: dict[str, MatrixPlan] = {}

    @property
    def uns(self) -> dict[str, Any]:
        if callable(self.lazy_uns):
            self.lazy_uns = self.lazy_uns()
        return self.lazy_uns

    @uns.setter
    def uns(self, value: Mapping[str, Any]) -> None:
        self.lazy_uns = dict(value)

    def names(self, axis: int) -> pd.Index:
        """The present obs_names (0) or var_names (1)."""
        return self.frames["obs" if axis == 0 else "var"].index

    def at(
        self, rows: axes.Positions, columns: axes.Positions, frames: dict[str, LazyFrame]
    ) -> Content:
        """A part with `frames`, independent of the whole: neither sees the other's
        changes. The caller handles uns."""
        part = Content((len(rows), len(columns)))
        part.dataset = self.dataset
        if self.place is not None:
            cells, genes = self.place
            part.place = axes.compose(cells, rows), axes.compose(genes, columns)
        part.frames = frames
        taken = lambda matrix: matrix.at(rows, columns).named(part.names)  # noqa: E731
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
            part.raw = raw if axes.is_all(rows, self.shape[0]) else partial(_rows_of, raw, rows)
        else:
            part.raw = None if raw is None else raw.of_cells(rows)
        return part

    def turned(self) -> Content:
        """Genes × cells. This object must not be used any more."""
        turned = Content(self.shape[::-1])
        for axis, other in (("obs", "var"), ("var", "obs")):
            turned.frames[axis] = frame_of(axis, snapshot(self.frames[other]))
        for section, other in (("obsm", "varm"), ("obsp", "varp")):
            turned.arrays[section] = self.arrays[other]
            turned.arrays[other] = self.arrays[section]
        turned.x = None if self.x is None else self.x.turned().named(turned.names)
        turned.layers = {k: m.turned().named(turned.names) for k, m in self.layers.items()}
        turned.lazy_uns = self.lazy_uns
        return turned

    def __getstate__(self) -> dict[str, Any]:
        # The frames have the names; they are not pickled again with each matrix.
        nameless = lambda m: None if m is None else m.named(None)  # noqa: E731
        state = dict(self.__dict__, x=nameless(self.x))
        state["layers"] = {key: nameless(layer) for key, layer in self.layers.items()}
        state["settled_x"] = self.x is self.settled_x
        state["settled"] = [k for k, m in self.layers.items() if self.settled.get(k) is m]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.x = None if self.x is None else self.x.named(self.names)
        self.layers = {key: layer.named(self.names) for key, layer in self.layers.items()}
        self.settled_x = self.x if state["settled_x"] else None
        self.settled = {key: self.layers[key] for key in state["settled"]}


def _rows_of(raw: Callable[[], Raw], rows: axes.Positions) -> Raw:
    return raw().of_cells(rows)


def uns_of_part(
    uns: dict[str, Any] | Callable[[], dict[str, Any]],
    whole: dict[str, Columns],
    part: dict[str, Columns],
) -> dict[str, Any]:
    """A copy of uns in which the colours of categories fit the columns `part` of the
    columns `whole`, as in AnnData."""
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
