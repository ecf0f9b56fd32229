"""`LazyAnnData`: a dataset with AnnData's attributes and methods."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from slaf.data import SLAFConverter
from slaf.data.exporter import export_h5ad
from slaf.data.lazy_frames import lazy_table
from slaf.data.saving import save
from slaf.dataset import OverDataset, dataset_of
from slaf.lazy.handle import LazyHandle
from slaf.lazy.state import HandleState

if TYPE_CHECKING:
    import polars


class LazyAnnData(LazyHandle):
    """AnnData over a dataset, read on demand.

    `obs` and `var` are pandas frames that read a column when it is first used. `X` and
    `layers` are lazy matrices. `obsm`, `varm`, `obsp`, `varp` and `uns` are read key by
    key. Slicing, with any key that AnnData accepts, returns a view that reads only its
    part. As in AnnData, a view becomes an independent handle when it is written to.
    Changes stay in the handle until :meth:`save`.

    Parameters
    ----------
    slaf_array
        The dataset.
    backend
        Accepted for compatibility with slafdb, and ignored.
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
        """Saves the changes of the handle to its dataset: everything that was set,
        deleted, or edited in place. Only the changes are written, and published in one
        step as a new version.

        X is never rewritten. If the handle's X has changed (a step such as `pp.log1p`
        is pending, or it was set), say what to do with it: `save(X="lognorm")` stores
        it as the layer of that name. `save(X=False)` leaves it out, and also
        `uns["log1p"]`, which would be wrong for the dataset's X. To make a dataset with
        this X, use :meth:`write_slaf`.

        Parameters
        ----------
        obs, var, obsm, varm, layers, obsp, varp, uns, raw
            True, or names: those in the handle are stored, and those that the handle
            lacks are deleted. By default, all changes of all sections. False leaves out
            a section.
        X
            The name of a layer, or False.

        Returns
        -------
        The number of the new version, or of the newest if there was nothing to save.

        Raises
        ------
        ValueError
            The handle is not all of its dataset, or a section has no such name.
        SlafError
            Something cannot be stored; then nothing is saved.
        OSError
            Somebody else has changed the dataset in the meantime, or it is not
            writable.
        """
        return save(self._state, sections)

    def write_slaf(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        storage_options: dict[str, str] | None = None,
    ) -> None:
        """Writes this handle to a new dataset, with X as it is now: pending steps are
        applied. Errors as for :meth:`slaf.data.SLAFConverter.convert`."""
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
        """Writes an h5ad file in limited memory; see
        :func:`slaf.data.exporter.export_h5ad`."""
        export_h5ad(self, filename, compression=compression, overwrite=overwrite)

    def write(self, filename: str) -> None:
        """Writes an h5ad file; the same as :meth:`write_h5ad`."""
        self.write_h5ad(filename)

    def write_zarr(self, store: Any, *, chunks: tuple[int, ...] | None = None) -> None:
        """Writes a zarr store, as AnnData does: everything is read into memory for it."""
        self.to_adata().write_zarr(store, chunks=chunks)
