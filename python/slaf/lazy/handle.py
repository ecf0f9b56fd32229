"""AnnData whose data stays where it is.

A handle is two sets of positions over a content. Slicing composes positions
and reads nothing; `to_adata()` reads exactly what the positions name.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from slaf import _axis
from slaf.lazy import content as contents
from slaf.lazy.columns import Columns, Framed, as_names, taken
from slaf.lazy.content import Content
from slaf.lazy.export import Exports
from slaf.lazy.foreign import referenced, refuse_scanpy
from slaf.lazy.frame import FRAMES, LazyFrame
from slaf.lazy.members import Members
from slaf.lazy.readers import AXES, SQUARE, InMemory, apart, part_of

if TYPE_CHECKING:
    import polars

    from slaf.array import SLAFArray


class LazyAnnData(Members, Exports):
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
        # What a view takes its frames and its uns from, and what it has handed out
        # of the rest: copies, which the content does not see.
        self._bases: dict[str, Columns] = {}
        self._uns_base: Any = None
        self._view_uns: dict[str, Any] | None = None
        self._view_raw: LazyAnnData | None = None
        self._own: dict[str, dict[str, Any]] = {section: {} for section in AXES}
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

    # Shape ----------------------------------------------------------------

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

    # Slicing --------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        if (reference := referenced(key)) is not None:
            accessor, place = reference
            return accessor.get(self, *place)
        rows, columns = _axis.split_key(key)
        inside = (
            _axis.positions(rows, self.n_obs, lambda: self.obs_names, "obs"),
            _axis.positions(columns, self.n_vars, lambda: self.var_names, "var"),
        )
        part = tuple(_axis.compose(outer, i) for outer, i in zip(self._part, inside, strict=True))
        view = LazyAnnData._of(self._content, part=part, backend=self.backend)
        bases = {"obs": self._base("obs"), "var": self._base("var")}
        for (axis, base), rows in zip(bases.items(), inside, strict=True):
            view._bases[axis] = taken(base, rows)
        uns = self._content._uns if not self.is_view else self._view_uns
        if uns is None:
            # This view has not been asked for its own.
            view._uns_base = self._uns_base
        else:
            view._uns_base = uns if callable(uns) else dict(uns), bases
        if self._view_raw is not None:
            view._view_raw = self._view_raw[inside[0]].copy()
        for section, values in self._own.items():
            for key, value in values.items():
                view._own[section][key] = part_of(
                    InMemory(value, section in SQUARE), inside[AXES[section]]
                ).value
        return view

    def _base(self, axis: str) -> Columns:
        """The columns of obs or var as they are now."""
        if axis in self._frames:
            return self._frames[axis]._snapshot()
        return self._bases[axis]

    def __contains__(self, key: Any) -> bool:
        """Whether a reference of `anndata.acc` leads to something."""
        if (reference := referenced(key)) is None:
            raise TypeError(f"{key!r} is no reference of `anndata.acc`. Ask `in handle.obs`.")
        accessor, place = reference
        return accessor.isin(self, *place)

    def copy(self, filename: Any = None) -> LazyAnnData:
        """A handle of its own of the same cells and genes; data is not copied."""
        return LazyAnnData._of(self._copied(), backend=self.backend)

    def _copied(self, own: Callable[[Any], Any] = apart) -> Content:
        """A content of its own. `own` copies what a view has handed out."""
        frames = {axis: FRAMES[axis]._of(self._base(axis).apart()) for axis in FRAMES}
        content = self._content.at(*self._part, frames)
        for section, values in self._own.items():
            for key in values.keys() & content.arrays[section].keys():
                content.arrays[section][key] = InMemory(own(values[key]), section in SQUARE)
        if self._view_raw is not None:
            content.raw = own(self._view_raw)
        uns = self._content._uns if not self.is_view else self._view_uns
        if uns is None:
            uns, whole = self._uns_base
            part = {axis: frame._snapshot().apart() for axis, frame in frames.items()}
            whole = {axis: columns.apart() for axis, columns in whole.items()}
            read = partial(contents.uns_of_part, uns, whole, part)
            content._uns = read if callable(uns) else read()
        else:
            content._uns = uns if callable(uns) else deepcopy(uns)
        return content

    def _as_raw(self) -> LazyAnnData:
        """A copy of what raw has: X, var, varm, and the names of the cells."""
        content = self._copied()
        names = Framed(pd.DataFrame(index=self.obs_names.view()))
        content.frames["obs"] = FRAMES["obs"]._of(names)
        for section in ("obsm", "obsp", "varp"):
            content.arrays[section] = {}
        content.layers, content.settled, content.uns, content.raw = {}, {}, {}, None
        return LazyAnnData._of(content)

    def _uns(self) -> dict[str, Any]:
        if not self.is_view:
            return self._content.uns
        if self._view_uns is None:
            part = {axis: self._base(axis) for axis in FRAMES}
            self._view_uns = contents.uns_of_part(*self._uns_base, part)
        return self._view_uns

    @property
    def T(self) -> LazyAnnData:
        """Genes × cells, as lazy as this."""
        return LazyAnnData._of(self._copied().turned())

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

    def lazy(
        self, table: str = "X", *, obs: Any = (), var: Any = (), layer: str | None = None
    ) -> polars.LazyFrame:
        """A table of this handle as a `polars.LazyFrame`; see :func:`slaf.scan`."""
        from slaf.lazy.scan import lazy_table

        return lazy_table(self, table, obs=obs, var=var, layer=layer)

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
        """Makes a view a handle of its own, with the very frames and values that it
        has handed out."""
        content = self._copied(own=lambda value: value)
        for axis, frame in self._frames.items():
            frame._detach()
            content.frames[axis] = frame
        content._uns = content._uns if self._view_uns is None else self._view_uns
        self._become(content, backend=self.backend)

    def _changed(self, section: str, key: str | None) -> None:
        if self._write_through:
            from slaf.lazy.save import save_one

            save_one(self, section, key)

    def _frame(self, axis: str) -> LazyFrame:
        if axis not in self._frames:
            self._frames[axis] = FRAMES[axis]._of(self._bases[axis])
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
        columns = frame._whole() if isinstance(frame, LazyFrame) else frame.copy()
        columns.index = as_names(frame.index)
        self._change(axis, None)
        self._own_frame(axis, FRAMES[axis]._of(Framed(columns)))
        self._changed(axis, None)

    # Storing --------------------------------------------------------------

    def save(self, **sections: Any) -> int:
        """Stores what is otherwise in the handle than in its dataset, however it was
        changed: set, deleted, or written to in place. Only that is written, beside
        what is there, and published at once as a new version.

        X is never rewritten. If that of the handle is another (`pp.log1p` and the
        like are pending, or it was set), say where it goes: `save(X="lognorm")`
        stores it as the layer of that name; `save(X=False)` leaves it out, and with
        it `uns["log1p"]`, which would say of the dataset's X what is not so. A
        dataset whose X it is makes :meth:`write_slaf`.

        Parameters
        ----------
        obs, var, obsm, varm, layers, obsp, varp, uns, raw
            True, or the names to store (or, of those that the handle lacks, to
            delete); by default all of all sections. False leaves one out.
        X
            The name of a layer, or False.

        Returns
        -------
        The number of the version: the newest, if there was nothing to store.

        Raises
        ------
        ValueError
            The handle is not all of its dataset, or a section has no such name.
        SlafError
            Something cannot be stored; nothing is then.
        OSError
            Somebody else has changed the dataset meanwhile, or it cannot be
            written to.
        """
        from slaf.lazy.save import save

        return save(self, sections)

    def write_slaf(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        storage_options: dict[str, str] | None = None,
    ) -> None:
        """Writes this handle to a dataset of its own, with X as it is now: pending
        steps are done. Errors as :meth:`slaf.data.SLAFConverter.convert`."""
        from slaf.data import SLAFConverter

        SLAFConverter().convert_handle(
            self, path, overwrite=overwrite, storage_options=storage_options
        )

    # Copies and other processes -------------------------------------------

    def __copy__(self) -> LazyAnnData:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyAnnData:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        """Where the data is, and what the handle holds in memory; of a view, its
        part, as a handle of its own."""
        content = self._copied() if self.is_view else self._content
        options = {"backend": self.backend, "write_through": self._write_through}
        return {"content": content, **options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._become(**state)

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
