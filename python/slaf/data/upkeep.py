"""Checks and indices of datasets, whose pass over X workers can share."""

from __future__ import annotations

from collections.abc import Iterator

from slaf import _slaf
from slaf.dataset import Dataset
from slaf.ground.progress import Job, job
from slaf.ground.read_ahead import read_ahead
from slaf.ground.workers import current


def validate(dataset: Dataset) -> list[tuple[str, str | None]]:
    """Reads everything, and compares data that is stored twice. Returns the name of
    each check, and the problem that it found or None."""
    engine, workers = dataset.engine, current()
    tasks = [(dataset, number) for number in range(_slaf.validation_parts(engine))]
    run = read_ahead if workers is None else workers.map
    parts = run(part_to_validate, tasks)
    # `Executor.map` counts the same tasks, so only this job is shown.
    with job("validate", len(tasks), "task") as reading:
        return _slaf.validate(engine, _counted(parts, reading))


def _counted(parts: Iterator[bytes], reading: Job) -> Iterator[bytes]:
    for done, part in enumerate(parts, 1):
        yield part
        reading(done)


def part_to_validate(task: tuple[Dataset, int]) -> bytes:
    """Runs in a worker, or in a thread."""
    dataset, number = task
    return _slaf.validation_part(dataset.engine, number)


def index(dataset: Dataset, by_gene: bool = True) -> None:
    """Writes the sums of cells and genes again, and with `by_gene` the copy of X sorted
    by gene, as the next version. Workers read and sort; this process writes.

    Raises
    ------
    SlafError
        The rows of X are not in the order of the cells.
    OSError
        Somebody else has changed the dataset in the meantime, or it cannot be written.
    """
    engine, workers = dataset.engine, current()
    parts = None
    if workers is not None:
        tasks = [(dataset, by_gene, number) for number in range(_slaf.index_parts(engine))]
        parts = workers.map(part_to_index, tasks)
    with job("index", unit="value") as step:
        _slaf.index(engine, by_gene, parts, step)


def part_to_index(task: tuple[Dataset, bool, int]) -> bytes:
    """Runs in a worker."""
    dataset, by_gene, number = task
    return _slaf.index_part(dataset.engine, by_gene, number)
