"""Tables of datasets as Polars LazyFrames, datasets from LazyFrames, and the namespace
`plan.slaf`."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import polars as pl

from slaf._slaf import SlafError
from slaf.data.long_frames import sink
from slaf.dataset import Dataset, OverDataset, dataset_of
from slaf.lazy.scan import Look, registered, source_of
from slaf.lazy.scan.statement import of_statement
from slaf.lazy.state import HandleState, OverState, state_of
from slaf.sql import Prepared

__all__ = ["SlafNamespace", "lazy_table", "scan", "sink", "sql_plan"]

#: Columns of obs or var: one, several, or True for all.
Names = str | Sequence[str] | bool


def scan(
    dataset: str | os.PathLike[str] | OverDataset | OverState,
    table: str = "expression",
    *,
    obs: Names = (),
    var: Names = (),
    layer: str | None = None,
    version: int | None = None,
    storage_options: dict[str, str] | None = None,
) -> pl.LazyFrame:
    """A table of a dataset as a `polars.LazyFrame`.

    Until it is collected, only the names and types of columns are read; then only what
    the plan needs. Filters on cells and genes decide which values are read, and unused
    columns are not read.

    Parameters
    ----------
    dataset
        A path or URL, a :class:`SLAFArray`, or a handle; a handle's table has its
        selection, changes and pending steps.
    table
        "expression" (or "X"), "raw", "layers/NAME", "cells" ("obs"), "genes"
        ("var"), "obsm/KEY", "varm/KEY", "obsp/KEY" or "varp/KEY".
    obs, var
        Columns of obs and var to add to the values of "expression", "raw" and layers: a
        name, names, or True for all; `cell_id` and `gene_id` are the names of cells and
        genes.
    layer
        A layer to use instead of X; the same as "layers/NAME".
    version, storage_options
        As for :class:`SLAFArray`, if `dataset` is a path.

    Raises
    ------
    SlafError
        There is no such table or column, or two columns have one name.
    """
    if isinstance(dataset, (str, os.PathLike)):
        state = HandleState.of_dataset(Dataset.open(dataset, version, storage_options))
    elif isinstance(dataset, OverDataset):
        state = HandleState.of_dataset(dataset_of(dataset))
    elif isinstance(dataset, OverState):
        state = state_of(dataset)
    else:
        raise TypeError(
            "`slaf.scan` takes a path, a SLAFArray or a lazy handle, not a "
            f"{type(dataset).__name__}."
        )
    return lazy_table(state, table, obs=obs, var=var, layer=layer)


def lazy_table(
    state: HandleState,
    table: str = "X",
    *,
    obs: Names = (),
    var: Names = (),
    layer: str | None = None,
) -> pl.LazyFrame:
    """A table of a handle; otherwise as :func:`scan`."""
    obs, var = ([name] if isinstance(name, str) else name for name in (obs, var))
    return registered(source_of(state, table, obs, var, layer))


def sql_plan(prepared: Prepared, **options: Any) -> pl.LazyFrame:
    """The result of a statement as a LazyFrame. Columns and rows that are selected
    later become part of the statement, and nothing is read before it is collected.
    `options` are `engine` and `memory` (bytes)."""
    return of_statement(prepared.text, lambda text: pl.DataFrame(prepared.ask(text, **options)))


class SlafNamespace:
    """Methods of LazyFrames over datasets, in addition to those of Polars."""

    def __init__(self, plan: pl.LazyFrame):
        self._plan = plan

    def sink(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Writes a frame with one row per stored value as a dataset; see
        :func:`slaf.sink`."""
        sink(self._plan, path, **options)

    def explain(self) -> str:
        """Polars' plan and, for each table of a dataset in it, which filters are
        evaluated before values are read, how many cells and genes remain, and about how
        much will be read. This reads only metadata.

        Raises
        ------
        SlafError
            The plan cannot be copied, for example because of a function in it.
        """
        look = Look()
        try:
            copy = look.at(lambda: pl.LazyFrame.deserialize(io.BytesIO(self._plan.serialize())))
        except (pl.exceptions.PolarsError, ImportError, TypeError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SlafError(
                f"This plan cannot be explained, because it cannot be copied: {first.rstrip('.')}."
            ) from None
        # The in-memory engine asks every source for its rows, whatever the other sources
        # return.
        try:
            copy.collect(engine="in-memory")
        except Exception:
            # Some functions fail without rows; by then the sources have been asked.
            if not look.lines:
                raise
        return "\n".join([self._plan.explain(), *look.lines])


pl.api.register_lazyframe_namespace("slaf")(SlafNamespace)
