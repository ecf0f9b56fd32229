"""`LazyAnnData`: a dataset with AnnData's attributes and methods."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from slaf.data import SLAFConverter
from slaf.data.exporter import export_h5ad
from slaf.data.plans import lazy_table
from slaf.data.saving import save
from slaf.dataset import OverDataset, dataset_of
from slaf.lazy.handle import LazyHandle
from slaf.lazy.state import HandleState

if TYPE_CHECKING:
    import polars


class LazyAnnData(LazyHandle):
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

    def __init__(self, slaf_array: OverDataset, backend: str = "auto"):
        self._state = HandleState.of_dataset(dataset_of(slaf_array))
        self.backend = backend

    def lazy(
        self, table: str = "X", *, obs: Any = (), var: Any = (), layer: str | None = None
    ) -> polars.LazyFrame:
        """A table of this handle as a `polars.LazyFrame`; see :func:`slaf.scan`."""
        return lazy_table(self._state, table, obs=obs, var=var, layer=layer)

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
        return save(self._state, sections)

    def write_slaf(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        storage_options: dict[str, str] | None = None,
    ) -> None:
        """Writes this handle to a dataset of its own, with X as it is now: pending
        steps are done. Errors as :meth:`slaf.data.SLAFConverter.convert`."""
        SLAFConverter().convert_handle(
            self, path, overwrite=overwrite, storage_options=storage_options
        )

    def write_h5ad(
        self,
        filename: str | os.PathLike[str],
        *,
        compression: str | None = None,
        overwrite: bool = True,
    ) -> None:
        """Writes an h5ad file in bounded memory; see
        :func:`slaf.data.exporter.export_h5ad`."""
        export_h5ad(self, filename, compression=compression, overwrite=overwrite)

    def write(self, filename: str) -> None:
        """Writes an h5ad file, as :meth:`write_h5ad`."""
        self.write_h5ad(filename)

    def write_zarr(self, store: Any, *, chunks: tuple[int, ...] | None = None) -> None:
        """Writes a zarr store, as AnnData does: everything is read for it."""
        self.to_adata().write_zarr(store, chunks=chunks)
