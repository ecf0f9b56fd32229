"""The lazy handle: an AnnData whose data stays in the dataset.

A handle consists of a content, the positions of its cells and the positions of its
genes. Slicing combines positions and reads nothing; `to_adata()` reads exactly what is
selected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slaf.lazy import displays
from slaf.lazy.export import Exports
from slaf.lazy.scanpy_guard import referenced, refuse_scanpy
from slaf.lazy.state import HandleState


class LazyHandle(Exports):
    """The part of a lazy AnnData that needs only its dataset: slicing, copying and
    reading. `slaf.integrations.LazyAnnData` adds writing."""

    #: Exists for compatibility with slafdb.
    backend: str = "auto"

    def _like(self, state: HandleState) -> Any:
        handle = type(self).over(state)
        handle.backend = self.backend
        return handle

    @property
    def slaf(self) -> Any:
        """The `SLAFArray` of the dataset; None if the handle joins several."""
        return None if self._state.dataset is None else self._state.dataset.public

    def __len__(self) -> int:
        return self.n_obs

    isbacked = False
    filename = None

    # Slicing --------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        if (reference := referenced(key)) is not None:
            accessor, place = reference
            return accessor.get(self, *place)
        return self._like(self._state[key])

    def __contains__(self, key: Any) -> bool:
        """Whether a reference from `anndata.acc` exists in this handle."""
        if (reference := referenced(key)) is None:
            raise TypeError(f"{key!r} is not a reference of `anndata.acc`. Use `in handle.obs`.")
        accessor, place = reference
        return accessor.isin(self, *place)

    def copy(self, filename: Any = None) -> Any:
        """An independent handle of the same cells and genes; data is not copied."""
        return self._like(self._state.copy())

    @property
    def T(self) -> Any:
        """The transpose, genes × cells; it is lazy, too."""
        return type(self).over(self._state.turned())

    def transpose(self) -> Any:
        return self.T

    def _inplace_subset_obs(self, key: Any) -> None:
        self._state.become(self._state[key])

    def _inplace_subset_var(self, key: Any) -> None:
        self._state.become(self._state[:, key])

    def chunked_X(self, chunk_size: int | None = None) -> Iterator[tuple[Any, int, int]]:
        """Iterates over X in blocks: `(block, start, end)`."""
        return self._matrix().chunked(chunk_size or 6000)

    # Copies and other processes -------------------------------------------

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {"_state": self._state, "backend": self.backend}

    # Showing --------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        refuse_scanpy()
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> type:
        # scanpy checks the class of objects other than AnnData, and fails later.
        refuse_scanpy()
        return type(self)

    def __repr__(self) -> str:
        return displays.handle_text(self._state)

    def _repr_html_(self) -> str:
        return displays.handle_html(self._state)
