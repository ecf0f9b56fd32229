"""Conditions on columns of obs; cells that meet all of them are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from slaf._slaf import nearest
from slaf.explorer.colours import as_number, as_numbers, coded, is_numeric
from slaf.ground.hints import did_you_mean

#: Number of bins in a histogram.
BINS = 40
#: The name for cells without a category.
MISSING = "(missing)"


class Condition(Protocol):
    """A condition on one column of obs."""

    def mask(self, column: pd.Series) -> np.ndarray:
        """The cells that meet it: bool."""
        ...


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, both included; None for an open end. Missing values
    are left out."""

    low: float | None
    high: float | None

    def mask(self, column: pd.Series) -> np.ndarray:
        values = as_numbers(column)
        shown = ~np.isnan(values)
        if self.low is not None:
            shown &= values >= self.low
        if self.high is not None:
            shown &= values <= self.high
        return shown


@dataclass(frozen=True)
class Without:
    """All categories except these."""

    hidden: frozenset[str]

    def mask(self, column: pd.Series) -> np.ndarray:
        codes, categories = coded(str(column.name), column)
        shown = np.array([name not in self.hidden for name in [*categories, MISSING]])
        # The code of a missing category is -1, which selects the last entry.
        return shown[codes]


def condition(column: pd.Series, wanted: Any) -> Condition:
    """The condition for `wanted`: `(low, high)` for a column of numbers, or the
    categories to show (None or "(missing)" for cells without one).

    Raises
    ------
    KeyError
        There is no such category.
    ValueError
        `wanted` is something else.
    """
    name = str(column.name)
    if is_numeric(column):
        pair = tuple(wanted) if isinstance(wanted, (tuple, list)) else ()
        try:
            low, high = (None if end is None else as_number(column, end) for end in pair)
        except (TypeError, ValueError):
            raise ValueError(f"obs[{name!r}] has numbers: filter it by `(low, high)`.") from None
        if low is not None and high is not None and low > high:
            raise ValueError(f"No number lies from {low:g} to {high:g}: filter by `(low, high)`.")
        return Between(low, high)
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        wanted = [wanted]
    known = named_categories(column)
    shown = [MISSING if one is None else str(one) for one in wanted]
    return Without(frozenset(known) - set(checked(name, shown, known)))


def named_categories(column: pd.Series) -> list[str]:
    """The categories of a column, and "(missing)"."""
    return [*coded(str(column.name), column)[1], MISSING]


def checked(column: str, names: Iterable[str], known: list[str]) -> list[str]:
    """Checks that all `names` are known, and returns them."""
    names = [str(name) for name in names]
    for name in names:
        if name not in known:
            raise KeyError(f"obs[{column!r}] has no {name!r}.{did_you_mean(nearest(name, known))}")
    return names


def histogram(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The number of cells in each of 40 bins of a column of numbers, and the edges of
    the bins."""
    values = as_numbers(column)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.zeros(BINS, dtype=np.int64), np.linspace(0, 1, BINS + 1)
    return np.histogram(values, bins=BINS)
