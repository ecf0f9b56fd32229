"""Tables of datasets and handles as polars LazyFrames: what of a plan names only
cells or only genes is decided on their metadata, and of the values only what is
left is read, block by block."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slaf.lazy.scan import namespace
from slaf.lazy.scan.source import registered
from slaf.lazy.scan.tables import source_of

if TYPE_CHECKING:
    import polars as pl

    from slaf.array import SLAFArray
    from slaf.lazy.handle import LazyAnnData

namespace.register()

#: Columns of obs or var: one, several, or (True) all.
Names = str | Sequence[str] | bool


def scan(
    dataset: str | os.PathLike[str] | SLAFArray | LazyAnnData,
    table: str = "expression",
    *,
    obs: Names = (),
    var: Names = (),
    layer: str | None = None,
    version: int | None = None,
    storage_options: dict[str, str] | None = None,
) -> pl.LazyFrame:
    """A table of a dataset as a `polars.LazyFrame`.

    Nothing but the names and types of columns is read before it is collected, and
    then only what the plan needs: filters by cells and genes choose what of the
    values is read, and columns that nobody asks for are not read.

    Parameters
    ----------
    dataset
        A path or an address, a :class:`SLAFArray`, or a handle, of which it is the
        part that the handle shows, with its changes and pending steps.
    table
        "expression" (or "X"), "raw", "layers/NAME", "cells" ("obs"), "genes"
        ("var"), "obsm/KEY", "varm/KEY", "obsp/KEY" or "varp/KEY".
    obs, var
        Columns of obs and var beside the values of "expression", "raw" and layers:
        a name, names, or True for all; `cell_id` and `gene_id` are the names of
        cells and genes.
    layer
        The layer instead of X, as "layers/NAME".
    version, storage_options
        As of :class:`SLAFArray`, if `dataset` is a path.

    Raises
    ------
    SlafError
        There is no such table or column, or two columns have one name.
    """
    from slaf.array import SLAFArray
    from slaf.lazy.handle import LazyAnnData

    if isinstance(dataset, (str, os.PathLike)):
        dataset = SLAFArray(dataset, version=version, storage_options=storage_options)
    handle = LazyAnnData(dataset) if isinstance(dataset, SLAFArray) else dataset
    if not isinstance(handle, LazyAnnData):
        raise TypeError(
            f"`slaf.scan` takes a path, a SLAFArray or a lazy handle, not a {type(handle).__name__}."
        )
    return lazy_table(handle, table, obs=obs, var=var, layer=layer)


def lazy_table(
    handle: LazyAnnData,
    table: str = "X",
    *,
    obs: Names = (),
    var: Names = (),
    layer: str | None = None,
) -> pl.LazyFrame:
    """A table of a handle; otherwise as :func:`scan`."""
    names: Any = [[name] if isinstance(name, str) else name for name in (obs, var)]
    return registered(source_of(handle, table, *names, layer))
