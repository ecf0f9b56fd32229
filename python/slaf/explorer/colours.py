"""The colour of each cell: an index into a palette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError

#: A column with more categories than this has no legend.
MOST_CATEGORIES = 2000
_LEVELS = 255
_MISSING = (217, 217, 217)
_PLAIN = (120, 130, 150)


@dataclass(frozen=True)
class Colouring:
    """The colours of all cells.

    Attributes
    ----------
    title
        What they show: a column of obs, or a gene.
    note
        A description of where the values are from; empty if that is clear.
    codes
        Indices into the palette, one per cell: uint8, or uint16 with more than 256
        colours.
    palette
        RGB: uint8, colours × 3. The last is for missing values.
    categories
        Names of the first colours; None for numbers.
    ends
        The numbers of the first and the last colour; None for categories, NaN if there
        are no numbers.
    """

    title: str
    note: str
    codes: np.ndarray
    palette: np.ndarray
    categories: tuple[str, ...] | None = None
    ends: tuple[float, float] | None = None

    @property
    def counts(self) -> np.ndarray:
        """Number of cells of each colour: int64."""
        return np.bincount(self.codes, minlength=len(self.palette))

    @property
    def missing(self) -> int:
        """The code of missing values."""
        return len(self.palette) - 1


def plain(n: int) -> Colouring:
    """The same colour for all cells."""
    palette = np.array([_PLAIN, _MISSING], dtype=np.uint8)
    return Colouring("", "", np.zeros(n, dtype=np.uint8), palette, ())


def of_numbers(
    title: str,
    values: np.ndarray,
    note: str = "",
    ends: tuple[float | None, float | None] = (None, None),
) -> Colouring:
    """A scale of 255 colours from the least to the greatest finite value, or between
    `ends`; values beyond `ends` have the outer colours."""
    from matplotlib import colormaps

    values = np.asarray(values)
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    finite = np.isfinite(values)
    low, high = ends if finite.any() else (np.nan, np.nan)
    if low is None:
        low = float(values.min(where=finite, initial=np.inf))
    if high is None:
        high = float(values.max(where=finite, initial=-np.inf))
    if low > high:
        raise ValueError(f"The ends of a scale must ascend: {low} is not below {high}.")
    width = high - low
    with np.errstate(invalid="ignore", over="ignore"):
        place = (values - low) / width if width > 0 else np.where(np.isnan(values), values, 0)
        place = np.rint(np.clip(place, 0, 1) * (_LEVELS - 1))
    codes = np.where(np.isnan(values), _LEVELS, np.nan_to_num(place)).astype(np.uint8)
    viridis = colormaps["viridis"](np.linspace(0, 1, _LEVELS), bytes=True)[:, :3]
    palette = np.vstack([viridis, [_MISSING]]).astype(np.uint8)
    return Colouring(title, note, codes, palette, ends=(float(low), float(high)))


def of_categories(title: str, column: pd.Series, colours: Any = None) -> Colouring:
    """The categories of a column, in the colours that scanpy stores in uns. If those
    are too few or not valid, in our own colours, with a note that says so.

    Raises
    ------
    SlafError
        There are more than 2,000 categories, or values that cannot be categories.
    """
    codes, categories = coded(title, column)
    own, note = None, ""
    if colours is not None:
        own = _as_rgb(colours, len(categories))
        if own is None:
            note = f"uns[{title + '_colors'!r}] does not fit the categories; these are others"
    if own is None:
        own = default_palette(len(categories))
    palette = np.vstack([own, [_MISSING]]).astype(np.uint8)
    size = np.uint8 if len(palette) <= 256 else np.uint16
    codes = np.where(codes < 0, len(categories), codes).astype(size)
    return Colouring(title, note, codes, palette, tuple(categories))


def coded(title: str, column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """The number of each cell's category, -1 if missing, and the names of the
    categories."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        try:
            column = column.astype("category")
        except TypeError:
            raise SlafError(f"obs[{title!r}] holds values that cannot be categories.") from None
    categories = [str(name) for name in column.cat.categories]
    if len(categories) > MOST_CATEGORIES:
        raise SlafError(
            f"obs[{title!r}] has {len(categories):,} different values; a legend has at most "
            f"{MOST_CATEGORIES:,}."
        )
    return column.cat.codes.to_numpy().astype(np.int64), categories


def is_numeric(column: pd.Series) -> bool:
    """Whether a column has a scale: numbers and times, but not bools."""
    kinds = pd.api.types
    return (
        kinds.is_numeric_dtype(column.dtype) and not kinds.is_bool_dtype(column.dtype)
    ) or is_time(column)


def is_time(column: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(column.dtype)


def as_numbers(column: pd.Series) -> np.ndarray:
    """The values of a column with a scale, NaN if missing: float. Times are seconds
    since 1970."""
    if is_time(column):
        seconds = column.to_numpy(dtype="datetime64[ns]").astype(np.int64) / 1e9
        return np.where(column.isna(), np.nan, seconds)
    if column.dtype == np.float32:
        return column.to_numpy()
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def as_number(column: pd.Series, end: Any) -> float:
    """A number on the scale of :func:`as_numbers`; for a column of times, also from a
    time or its text."""
    if is_time(column) and not isinstance(end, (int, float)):
        return pd.Timestamp(end).timestamp()
    return float(end)


def default_palette(n: int) -> np.ndarray:
    """`n` different colours: tab10, tab20, then hues a golden angle apart."""
    from matplotlib import colormaps
    from matplotlib.colors import hsv_to_rgb

    if n <= 20:
        named = colormaps["tab10" if n <= 10 else "tab20"]
        return (named(np.arange(n))[:, :3] * 255).round().astype(np.uint8)
    i = np.arange(n)
    hue, saturation = (i * 0.618034) % 1, np.array([0.55, 0.75, 0.95])[i % 3]
    value = np.array([0.9, 0.7, 0.55, 0.8])[i % 4]
    return (hsv_to_rgb(np.c_[hue, saturation, value]) * 255).round().astype(np.uint8)


def _as_rgb(colours: Sequence[str], n: int) -> np.ndarray | None:
    """The first `n` colours, if there are enough and all are valid."""
    from matplotlib.colors import to_rgb

    try:
        rgb = [to_rgb(str(colour)) for colour in np.atleast_1d(np.asarray(colours))[:n]]
    except ValueError:
        return None
    return (np.array(rgb).reshape(-1, 3) * 255).round().astype(np.uint8) if len(rgb) == n else None
