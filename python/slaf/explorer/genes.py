"""Finds genes by the names that people type."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from slaf._slaf import SlafError, nearest
from slaf.ground.hints import did_you_mean


class Genes:
    """Unique labels of genes: the name, or, if several genes have it, the name and the
    position, such as `PCDHA9 [17]`."""

    def __init__(self, names: pd.Index):
        texts = np.asarray(names.astype(str), dtype=object)
        repeated = pd.Index(texts).duplicated(keep=False)
        self.labels = [
            f"{name} [{at}]" if twice else name
            for at, (name, twice) in enumerate(zip(texts, repeated, strict=True))
        ]
        self._at = {label: at for at, label in enumerate(self.labels)}
        self._repeated = set(texts[repeated])
        self._sorted = sorted((label.lower(), label) for label in self.labels)

    def find(self, gene: str | int, also: Sequence[str] = ()) -> int:
        """The position of a gene, given by its label or its position. Case is ignored
        if that leaves only one gene.

        Parameters
        ----------
        also
            Other names to suggest in an error.

        Raises
        ------
        KeyError
            There is no such gene; the message suggests similar names.
        SlafError
            Several genes have this name.
        """
        if not isinstance(gene, str):
            if not 0 <= gene < len(self.labels):
                raise KeyError(f"There is no gene {gene}; there are {len(self.labels):,}.")
            return int(gene)
        label = gene
        at = self._at.get(label)
        if at is not None:
            return at
        same = [name for key, name in self._starting(label) if key == label.lower()]
        if len(same) == 1:
            return self._at[same[0]]
        if label in self._repeated:
            several = ", ".join(self.complete(f"{label} [", 4))
            raise SlafError(f"Several genes are named {label!r}: take one of {several}.")
        near = nearest(label, [*also, *self.labels])
        what = "gene" if not len(also) else "column of obs or gene"
        raise KeyError(f"There is no {what} {label!r}.{did_you_mean(near)}")

    def complete(self, start: str, limit: int = 20) -> list[str]:
        """Labels that begin with this text, in alphabetical order."""
        return [label for _, label in self._starting(start)[:limit]]

    def _starting(self, start: str) -> list[tuple[str, str]]:
        key = start.lower()
        first = bisect_left(self._sorted, (key,))
        last = bisect_left(self._sorted, (key + chr(0x10FFFF),))
        return self._sorted[first:last]


def expression(handle: Any, layer: str | None, at: int) -> np.ndarray:
    """A gene's values in all cells, including zeros: 1-d. If the dataset has a copy
    sorted by gene, only these values are read."""
    values = _matrix(handle, layer)[:, at : at + 1]
    return np.asarray(values.tocsc().toarray()).ravel()


def said_of_values(handle: Any, layer: str | None) -> str:
    """A description of the values that :func:`expression` returns."""
    pending = _matrix(handle, layer).pending
    source = "X" if layer is None else f"layer {layer}"
    return f"{source} after {', '.join(pending)}" if pending else f"{source} as stored"


def _matrix(handle: Any, layer: str | None) -> Any:
    matrix = handle.X if layer is None else handle.layers[layer]
    if matrix is None:
        raise SlafError("The handle has no X to read genes from. Name a layer: `layer=...`.")
    return matrix
