"""`plan.slaf` of polars' LazyFrames: what our sources would read for a plan."""

from __future__ import annotations

import io
import os
from typing import Any

import polars as pl

from slaf import SlafError
from slaf.lazy.scan.source import Look


class SlafNamespace:
    """What a plan over datasets does, beyond what polars tells of it."""

    def __init__(self, plan: pl.LazyFrame):
        self._plan = plan

    def sink(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Writes a frame with a row for each stored value as a dataset; see
        :func:`slaf.sink`."""
        from slaf.data.long import sink

        sink(self._plan, path, **options)

    def explain(self) -> str:
        """polars' plan, and, for each table of a dataset in it, what of its filters
        is decided before values are read, how many cells and genes are left, and
        about how much will be read. Only metadata is read for it.

        Raises
        ------
        SlafError
            The plan cannot be copied, as a function in it cannot.
        """
        look = Look()
        try:
            copy = look.at(lambda: pl.LazyFrame.deserialize(io.BytesIO(self._plan.serialize())))
        except (pl.exceptions.PolarsError, ImportError, TypeError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SlafError(
                f"What this plan reads cannot be told, as it cannot be copied: {first.rstrip('.')}."
            ) from None
        # The engine that asks every source for its rows, whatever others have.
        try:
            copy.collect(engine="in-memory")
        except Exception:
            # Of no rows some functions make nothing; the sources have been asked.
            if not look.lines:
                raise
        return "\n".join([self._plan.explain(), *look.lines])


def register() -> None:
    """Gives LazyFrames their `slaf`."""
    if getattr(pl.LazyFrame, "slaf", None) is not SlafNamespace:
        pl.api.register_lazyframe_namespace("slaf")(SlafNamespace)
