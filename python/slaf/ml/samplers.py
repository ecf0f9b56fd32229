"""slafdb's module of the same name: tables of values with their cells in random order. Our
loaders shuffle on their own."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from enum import Enum
from typing import Any

import polars as pl

_CELL = "cell_integer_id"


class ShuffleType(str, Enum):
    RANDOM = "random"
    STRATIFIED = "stratified"


class Shuffle(ABC):
    """Puts cells into another order."""

    @abstractmethod
    def apply(
        self, df: pl.DataFrame, seed: int, batch_size: int | None = None, **kwargs: Any
    ) -> pl.DataFrame | list[pl.DataFrame]:
        """The rows of `df` with their cells in another order, which the seed
        reproduces.

        Parameters
        ----------
        df
            Rows with `cell_integer_id`.
        batch_size
            Cells per batch; None for a single frame.

        Returns
        -------
        A frame; with a `batch_size`, a list of frames.
        """

    def _given(self, cells: list[pl.DataFrame], batch_size: int | None, empty: pl.DataFrame) -> Any:
        if batch_size is None:
            return pl.concat(cells) if cells else empty
        starts = range(0, len(cells), batch_size)
        return [pl.concat(cells[start : start + batch_size]) for start in starts]


class RandomShuffle(Shuffle):
    """Random order."""

    def apply(
        self, df: pl.DataFrame, seed: int, batch_size: int | None = None, **kwargs: Any
    ) -> pl.DataFrame | list[pl.DataFrame]:
        return self._given(_shuffled(df, random.Random(seed)), batch_size, df)


class StratifiedShuffle(Shuffle):
    """One cell of each type in turn, as long as there are some. `cell_type_column` is
    the column with the types (by default "cell_type"); without that column, the order
    is random."""

    def apply(
        self, df: pl.DataFrame, seed: int, batch_size: int | None = None, **kwargs: Any
    ) -> pl.DataFrame | list[pl.DataFrame]:
        column = kwargs.get("cell_type_column", "cell_type")
        if column not in df.columns:
            return RandomShuffle().apply(df, seed, batch_size)
        source = random.Random(seed)
        strata = [_shuffled(part, source) for part in df.partition_by(column, maintain_order=True)]
        longest = max(map(len, strata), default=0)
        turns = [cells[at] for at in range(longest) for cells in strata if at < len(cells)]
        return self._given(turns, batch_size, df)


def _shuffled(df: pl.DataFrame, source: random.Random) -> list[pl.DataFrame]:
    cells = df.partition_by(_CELL, maintain_order=True)
    source.shuffle(cells)
    return cells


def create_shuffle(shuffle_type: ShuffleType | str) -> Shuffle:
    """The shuffle with this name: "random" or "stratified".

    Raises
    ------
    ValueError
        There is no such shuffle.
    """
    made = {"random": RandomShuffle, "stratified": StratifiedShuffle}
    name = str(getattr(shuffle_type, "value", shuffle_type)).lower()
    if name not in made:
        raise ValueError(f"A shuffle is 'random' or 'stratified', not {shuffle_type!r}.")
    return made[name]()
