"""The state behind a lazy handle: the selected cells and genes of a content, and the
frames and arrays that the user has received from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pandas as pd

from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.axes import Positions
from slaf.lazy.assigned import as_names
from slaf.lazy.columns import Columns, Framed, taken, taken_over
from slaf.lazy.content import Content, uns_of_part
from slaf.lazy.frame import LazyFrame, detach, frame_of, snapshot, watch, whole
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.readers import AXES, SQUARE, InMemory, Reader, apart
from slaf.lazy.stored_content import content_of, stored_uns

#: Stores one change at once: the state, the section, and the key (None for the whole
#: section).
Saver = Callable[["HandleState", str, "str | None"], None]


class HandleState:
    """A whole content, or a view: a part of another handle's content. Before it is
    written to, a view gets its own content."""

    def __init__(self, content: Content, part: tuple[Positions, Positions] | None = None):
        self.saver: Saver | None = None
        self._become(content, part)

    def _become(self, content: Content, part: tuple[Positions, Positions] | None = None) -> None:
        self.content = content
        self._view_part = part
        self._frames: dict[str, LazyFrame] = {}
        # The columns and the uns on which a view is based, and copies of the other values
        # that the user has received from it, which the content does not see.
        self._bases: dict[str, Columns] = {}
        self._uns_base: Any = None
        self._view_uns: dict[str, Any] | None = None
        self._view_raw: HandleState | None = None
        self._own: dict[str, dict[str, Any]] = {section: {} for section in AXES}
        if part is None:
            for axis, frame in content.frames.items():
                self._own_frame(axis, frame)

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> HandleState:
        """All of a dataset."""
        content = content_of(dataset)
        content.raw = raw_of(dataset)
        return cls(content)

    def __getstate__(self) -> dict[str, Any]:
        """Pickles where the data is stored, and the data that the handle has in memory.
        A view is pickled with its own content."""
        content = self._copied() if self.is_view else self.content
        return {"content": content, "saver": self.saver}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.saver = state["saver"]
        self._become(state["content"])

    # Where it is ----------------------------------------------------------

    @property
    def part(self) -> tuple[Positions, Positions]:
        """The selected positions in the content."""
        if self._view_part is not None:
            return self._view_part
        rows, columns = self.content.shape
        return range(rows), range(columns)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.part[0]), len(self.part[1])

    @property
    def dataset(self) -> Dataset | None:
        """The dataset; None if the content joins several."""
        return self.content.dataset

    def in_dataset(self, axis: int) -> Positions:
        """Positions of the cells (0) or genes (1) in the dataset."""
        place = self.content.place
        return self.part[axis] if place is None else axes.compose(place[axis], self.part[axis])

    @property
    def is_view(self) -> bool:
        return self._view_part is not None

    @property
    def is_whole(self) -> bool:
        """Whether this is all of its dataset, in order."""
        if self.dataset is None:
            return False
        return all(axes.is_all(self.in_dataset(a), self.dataset.shape[a]) for a in (0, 1))

    def names(self, axis: int) -> pd.Index:
        """obs_names (0) or var_names (1)."""
        return self.frame(("obs", "var")[axis]).index

    # Parts and copies -----------------------------------------------------

    def __getitem__(self, key: Any) -> HandleState:
        """A view, selected by any key that AnnData accepts."""
        rows, columns = axes.split_key(key)
        return self.at(
            axes.positions(rows, self.shape[0], lambda: self.names(0), "obs"),
            axes.positions(columns, self.shape[1], lambda: self.names(1), "var"),
        )

    def at(self, *inside: Positions) -> HandleState:
        """A view of the rows and columns at these positions."""
        part = tuple(axes.compose(outer, i) for outer, i in zip(self.part, inside, strict=True))
        view = HandleState(self.content, part)
        bases = {"obs": self.columns("obs"), "var": self.columns("var")}
        for (axis, base), rows in zip(bases.items(), inside, strict=True):
            view._bases[axis] = taken(base, rows)
        uns = self.content.lazy_uns if not self.is_view else self._view_uns
        if uns is None:
            # This view has no values of its own yet.
            view._uns_base = self._uns_base
        else:
            view._uns_base = uns if callable(uns) else dict(uns), bases
        if self._view_raw is not None:
            view._view_raw = self._view_raw.of_cells(inside[0])
        for section, values in self._own.items():
            for key, value in values.items():
                own = InMemory(value, section in SQUARE)
                view._own[section][key] = apart(own(inside[AXES[section]]))
        return view

    def of_cells(self, rows: Positions) -> HandleState:
        """A copy of some cells."""
        return self.at(rows, range(self.shape[1])).copy()

    def copy(self) -> HandleState:
        """The same cells and genes with their own content; data is not copied."""
        return HandleState(self._copied())

    def turned(self) -> HandleState:
        """Genes × cells."""
        return HandleState(self._copied().turned())

    def as_raw(self) -> HandleState:
        """A copy of the parts that raw keeps: X, var, varm, and the names of the cells."""
        content = self._copied()
        names = Framed(pd.DataFrame(index=self.names(0).view()))
        content.frames["obs"] = frame_of("obs", names)
        for section in ("obsm", "obsp", "varp"):
            content.arrays[section] = {}
        content.layers, content.settled, content.uns, content.raw = {}, {}, {}, None
        return HandleState(content)

    def become(self, view: HandleState) -> None:
        """Takes over the content of `view`, which must not be used any more."""
        columns = {axis: taken_over(view.columns(axis)) for axis in ("obs", "var")}
        self._become(view._copied_with(columns, apart))

    def _copied(self, own: Callable[[Any], Any] = apart) -> Content:
        """A content of its own. `own` also copies what the user has received from a
        view."""
        return self._copied_with({a: self.columns(a).apart() for a in ("obs", "var")}, own)

    def _copied_with(self, columns: dict[str, Columns], own: Callable[[Any], Any]) -> Content:
        frames = {axis: frame_of(axis, found) for axis, found in columns.items()}
        content = self.content.at(*self.part, frames)
        for section, values in self._own.items():
            for key in values.keys() & content.arrays[section].keys():
                content.arrays[section][key] = InMemory(own(values[key]), section in SQUARE)
        if self._view_raw is not None:
            content.raw = own(self._view_raw)
        uns = self.content.lazy_uns if not self.is_view else self._view_uns
        if uns is None:
            uns, of = self._uns_base
            # Only the colours of categories depend on the rows.
            part = {axis: snapshot(frame).categorical() for axis, frame in frames.items()}
            of = {axis: columns.categorical() for axis, columns in of.items()}
            read = partial(uns_of_part, uns, of, part)
            content.lazy_uns = read if callable(uns) else read()
        else:
            content.lazy_uns = uns if callable(uns) else deepcopy(uns)
        return content

    # What it holds --------------------------------------------------------

    @property
    def x(self) -> MatrixPlan | None:
        return None if self.content.x is None else self.content.x.at(*self.part)

    @property
    def uns(self) -> dict[str, Any]:
        if not self.is_view:
            return self.content.uns
        if self._view_uns is None:
            part = {axis: self.columns(axis) for axis in ("obs", "var")}
            uns, of = self._uns_base
            self._view_uns = uns_of_part(uns, of, part)
        return self._view_uns

    @property
    def known_uns(self) -> dict[str, Any]:
        """uns for reading only. If the user has not received it yet, it is the dataset's."""
        uns = self._view_uns if self.is_view else self.content.lazy_uns
        if uns is None:
            uns = self._uns_base[0]
        if callable(uns):
            return {} if self.dataset is None else stored_uns(self.dataset)
        return uns

    @property
    def raw(self) -> HandleState | None:
        """The cells of this handle with all genes of raw."""
        content = self.content
        if content.raw is None:
            return None
        if callable(content.raw):
            content.raw = content.raw()
        if not self.is_view:
            return content.raw
        if self._view_raw is None:
            self._view_raw = content.raw.of_cells(self.part[0])
        return self._view_raw

    def set_raw(self, raw: HandleState | None) -> None:
        if raw is not None and raw.x is None:
            raise ValueError("raw needs an X, and this handle has none.")
        copied = None if raw is None else raw.as_raw()
        if copied is not None and copied.shape[0] != self.shape[0]:
            raise ValueError(
                f"raw needs the {self.shape[0]} cells, and this has {copied.shape[0]}."
            )
        self.change("raw", None)
        self.content.raw = copied
        self.changed("raw", None)

    def held(self, section: str) -> dict[str, Any]:
        """The entries of a section: matrices of layers, readers of obsm and similar
        sections, values of uns."""
        if section == "uns":
            return self.uns
        return self.content.layers if section == "layers" else self.content.arrays[section]

    def rows(self, section: str) -> Positions:
        """The rows that a section of arrays shows of its readers."""
        return self.part[AXES[section]]

    def value(self, section: str, key: str) -> Any:
        """An array. It is always the same object, so edits to it are kept. A view has
        its own copy."""
        readers = self.content.arrays[section]
        reader: Reader = readers[key]
        if self.is_view:
            own = self._own[section]
            if key not in own:
                own[key] = apart(reader(self.rows(section)))
            return self._with_names(section, own[key])
        if not isinstance(reader, InMemory):
            value = apart(reader(self.rows(section)))
            reader = readers[key] = InMemory(value, section in SQUARE, reader)
        return self._with_names(section, reader.value)

    def copied_value(self, section: str, key: str) -> Any:
        """A copy of an array; the state does not keep it."""
        held = self.in_memory(section, key)
        value = self.content.arrays[section][key](self.rows(section)) if held is None else held
        return self._with_names(section, apart(value))

    def _with_names(self, section: str, value: Any) -> Any:
        if isinstance(value, pd.DataFrame):
            names = self.names(AXES[section])
            # Rows that `.loc` has added are rejected by `save`.
            if not value.index.is_(names) and len(value) == len(names):
                value.index = names
        return value

    def in_memory(self, section: str, key: str) -> Any:
        """An array if it is in memory: set by the user, or already returned. Otherwise
        None."""
        if self.is_view and key in self._own[section]:
            return self._own[section][key]
        reader = self.content.arrays[section][key]
        return reader(self.rows(section)) if isinstance(reader, InMemory) else None

    # obs and var ----------------------------------------------------------

    def columns(self, axis: str) -> Columns:
        """The columns of obs or var in their present state."""
        if axis in self._frames:
            return snapshot(self._frames[axis])
        return self._bases[axis]

    def frame(self, axis: str) -> LazyFrame:
        if axis not in self._frames:
            self._frames[axis] = frame_of(axis, self._bases[axis])
            self._watch(axis)
        return self._frames[axis]

    def set_frame(self, axis: str, frame: pd.DataFrame) -> None:
        n = self.shape[0 if axis == "obs" else 1]
        if not isinstance(frame, pd.DataFrame):
            raise ValueError(f"Can only assign pd.DataFrame to {axis}.")
        if len(frame) != n:
            raise ValueError(
                f"Length of passed value for {axis}_names is {len(frame)}, but this AnnData has "
                f"shape: {self.shape}"
            )
        columns = whole(frame) if isinstance(frame, LazyFrame) else frame.copy()
        columns.index = as_names(frame.index)
        self.change(axis, None)
        self._own_frame(axis, frame_of(axis, Framed(columns)))
        self.changed(axis, None)

    def _own_frame(self, axis: str, frame: LazyFrame) -> None:
        self.content.frames[axis] = frame
        self._frames[axis] = frame
        self._watch(axis)

    def _watch(self, axis: str) -> None:
        watch(
            self._frames[axis],
            lambda: self.change(axis, None),
            lambda key: self.changed(axis, key),
        )

    # Changing -------------------------------------------------------------

    def change(self, section: str, key: str | None) -> None:
        """Prepares for a change: a view gets its own content."""
        if not self.is_view:
            return
        from anndata import ImplicitModificationWarning

        what = f"`.{section}`" if section in ("obs", "var") else f"element `.{section}['{key}']`"
        warnings.warn(
            f"Trying to modify {what} of view, initializing view as actual.",
            ImplicitModificationWarning,
            stacklevel=4,
        )
        self.actualise()

    def actualise(self) -> None:
        """Gives a view its own content, with the same frames and values that the user
        has received from it."""
        if not self.is_view:
            return
        content = self._copied(own=lambda value: value)
        for axis, frame in self._frames.items():
            detach(frame)
            content.frames[axis] = frame
        content.lazy_uns = content.lazy_uns if self._view_uns is None else self._view_uns
        self._become(content)

    def changed(self, section: str, key: str | None) -> None:
        if self.saver is not None:
            self.saver(self, section, key)


def raw_of(dataset: Dataset) -> Callable[[], HandleState] | None:
    """A function that opens the raw of a dataset; None if there is none."""
    return partial(_raw_of, dataset) if "raw" in dataset.notes else None


def _raw_of(dataset: Dataset) -> HandleState:
    notes = dataset.notes
    raw = HandleState.of_dataset(dataset.nested(notes["raw"], notes.get("raw_version")))
    # An append may have made raw longer since this version.
    cells = dataset.shape[0]
    return raw if raw.shape[0] == cells else raw.of_cells(range(cells))


class OverState:
    """Base class of objects with a state; subclasses set `self._state`."""

    _state: HandleState


def state_of(handle: OverState) -> HandleState:
    """The state of a lazy handle.

    Raises
    ------
    TypeError
        It is not a lazy handle.
    """
    if not isinstance(handle, OverState):
        raise TypeError(f"This takes a lazy handle, not a {type(handle).__name__}.")
    return handle._state
