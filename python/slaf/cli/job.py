"""The output of a long-running subcommand: its progress, and what it made."""

from __future__ import annotations

import time

from slaf.ground.progress import on_terminal


class Job:
    """Shows progress on stderr until the end of its `with` block."""

    def __enter__(self) -> Job:
        self._begun = time.perf_counter()
        self.progress = on_terminal()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.close()

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
