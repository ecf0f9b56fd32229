"""Checks everything in a source except X, before X is read, so that errors come early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from slaf._slaf import SlafError
from slaf.data.sources.base import Matrix, Parts, Source, in_file
from slaf.ground import metadata

if TYPE_CHECKING:
    import anndata

#: Rows of a column that are tried, if its dtype determines its values.
_ROWS = 64


def check(source: Source) -> None:
    """Raises the errors that would stop the conversion of `source` after X.

    Raises
    ------
    SlafError
        An entry cannot be stored; the message names it.
    """
    for one in source.inputs or [source]:
        try:
            for part in (one, one.raw):
                if part is not None:
                    _try(part.rest() if part.first is None else part.first())
        except SlafError as error:
            if len(source.inputs) < 2 or f"`{one.name}`" in str(error):
                raise
            raise SlafError(f"`{one.name}`: {error}") from None


def _try(parts: Parts | anndata.AnnData) -> None:
    """Tries to encode what is in memory, and the first rows of what is in a file."""
    for axis in ("obs", "var"):
        frame = getattr(parts, axis)
        if not isinstance(frame, pd.DataFrame):
            _some(frame.ids())
        columns = list(frame.items())
        names = metadata.text_names([name for name, _ in columns], axis, {})
        for name, (_, column) in zip(names, columns, strict=True):
            metadata.tried(_some(column), f"{axis}/{name}", {})
    for key, value in parts.layers.items():
        kind = getattr(value, "dtype", None)
        if not (key is None or isinstance(value, Matrix) or getattr(kind, "kind", "O") in "biuf"):
            raise SlafError(
                f"`layers/{key}` holds {kind or type(value).__name__}, and only real numbers can "
                "be stored. Turn it into numbers, or leave it out."
            )
    extras: dict[str, dict[str, Any]] = {}
    for section in ("obsm", "varm", "layers", "obsp", "varp"):
        for key, value in getattr(parts, section).items():
            large = key is None or isinstance(value, Matrix) or in_file(value)
            if not (large or metadata.is_vector(value)):
                few = isinstance(value, pd.DataFrame)
                extras.setdefault(section, {})[key] = value.iloc[:_ROWS] if few else value
    metadata.h5_forms({**extras, "uns": dict(parts.uns)}, {})


def _some(column: Any) -> pd.Series:
    if not isinstance(column, pd.Series):
        return column.rows(0, _ROWS)
    # The type of objects is known only when all have been checked.
    return column if column.dtype == object else column.iloc[:_ROWS]
