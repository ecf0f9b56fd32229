"""Functions that tests run on workers, which import this file by its name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from slaf.data.upkeep import part_to_index
from slaf.dataset import Dataset
from slaf.lazy.matrix import LazyExpressionMatrix
from slaf.lazy.plan import MatrixPlan, plan_of


class Deadly:
    """A source whose reader is killed: always, or once, which the file `mark`
    records."""

    def __init__(self, source: Any, mark: Path, driver: int, always: bool = False):
        self.source, self.mark, self.driver, self.always = source, mark, driver, always
        self.shape, self.dtype, self.nnz = source.shape, source.dtype, source.nnz

    def csr(self, rows: Any, columns: Any) -> Any:
        if os.getpid() != self.driver and (self.always or not self.mark.exists()):
            self.mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.csr(rows, columns)


def deadly(matrix: LazyExpressionMatrix, mark: Path, *, always: bool = False) -> Any:
    """A copy of `matrix` that kills the worker that reads it."""
    source = Deadly(plan_of(matrix).source, mark, os.getpid(), always)
    return LazyExpressionMatrix.over(MatrixPlan.of(source))


def counted(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch of the numbers of genes."""
    return {"n": np.diff(batch["genes"].offsets.to_numpy()), "kind": "counted"}


def noted(task: tuple[Path, int]) -> int:
    """Takes a while, and writes a file."""
    folder, number = task
    time.sleep(0.2)
    (folder / f"{number}-{os.getpid()}").touch()
    return number


def failing(task: tuple[Path, int, str]) -> int:
    """Raises an error of this class, and records how often."""
    folder, number, kind = task
    (folder / f"{number}-{time.monotonic_ns()}").touch()
    errors = {"OSError": OSError, "ValueError": ValueError, "Foreign": _Foreign}
    raise errors[kind](f"Task {number} cannot be done.")


def index_part_that_kills(task: tuple[Dataset, bool, int]) -> bytes:
    """A part of an index; the first worker that reads the second part is killed."""
    dataset, _, number = task
    mark = Path(f"{dataset.path}.mark")
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return part_to_index(task)


class _Foreign(Exception):
    """An error of a class that the driver may not have."""
