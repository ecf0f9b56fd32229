"""Checks and indices of datasets, whose pass over X workers can share."""

from __future__ import annotations

from slaf import _slaf
from slaf.dataset import Dataset
from slaf.ground.progress import job
from slaf.ground.workers import current


def validate(dataset: Dataset) -> list[tuple[str, str | None]]:
    """Reads everything, and compares data that is stored twice. Returns the name of
    each check, and the problem that it found or None."""
    engine, workers = dataset.engine, current()
    if workers is None:
        return _slaf.validate(engine)
    tasks = [(dataset, number) for number in range(_slaf.validation_parts(engine))]
    return _slaf.validate(engine, workers.map(part_to_validate, tasks))


def part_to_validate(task: tuple[Dataset, int]) -> bytes:
    """Runs in a worker."""
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
    with job("index", unit="value") as writing:
        _slaf.index(engine, by_gene, parts, writing)


def part_to_index(task: tuple[Dataset, bool, int]) -> bytes:
    """Runs in a worker."""
    dataset, by_gene, number = task
    return _slaf.index_part(dataset.engine, by_gene, number)
