"""The output of a long-running subcommand: what it made, and the time it took."""

from __future__ import annotations

import time


class Job:
    """A subcommand whose time counts from now on."""

    def __init__(self):
        self._begun = time.perf_counter()

    def done(self, made: str, shape: tuple[int, int]) -> None:
        """Prints the dataset that was made, its number of cells and genes, and the
        time."""
        seconds = time.perf_counter() - self._begun
        print(f"{made} {shape[0]:,} cells × {shape[1]:,} genes in {seconds:.1f} s")

    def done_with(self, uri: str) -> None:
        """:meth:`done` for the dataset at `uri`."""
        from slaf.array import SLAFArray

        array = SLAFArray(uri)
        self.done(f"{uri}: version {array.version},", array.shape)
