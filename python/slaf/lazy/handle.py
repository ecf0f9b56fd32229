"""AnnData whose data stays where it is.

A handle is two sets of positions over a content. Slicing composes positions
and reads nothing; `to_adata()` reads exactly what the positions name.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from slaf import _axis
from slaf.lazy import content as contents
from slaf.lazy.columns import Framed
from slaf.lazy.content import Content
from slaf.lazy.export import Exports
from slaf.lazy.foreign import referenced, refuse_scanpy
from slaf.lazy.frame import FRAMES, LazyFrame
from slaf.lazy.members import Members

if TYPE_CHECKING:
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
        for axis, at in (("obs", 0), ("var", 1)):
            frame = self._frames.get(axis)
            if frame is not None and frame is not self._content.frames[axis]:
                # This view's frame may have been written to.
                view._frames[axis] = frame._taken(inside[at])
                view._watch(axis)
        return view

    def __contains__(self, key: Any) -> bool:
        """Whether a reference of `anndata.acc` leads to something."""
        if (reference := referenced(key)) is None:
            raise TypeError(f"{key!r} is no reference of `anndata.acc`. Ask `in handle.obs`.")
        accessor, place = reference
        return accessor.isin(self, *place)

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
