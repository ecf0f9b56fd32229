"""Internal objects that tests look at."""

from __future__ import annotations

from slaf import _slaf
from slaf.dataset import dataset_of
from slaf.sql import session_of


def engine_of(array) -> _slaf.Dataset:
    """The engine's dataset."""
    return dataset_of(array).engine


def answer(array, sql: str, engine: str | None = None, **options) -> _slaf.Answer:
    """An answer with its `engine`, `profile` and `warnings`."""
    session = session_of(dataset_of(array))
    known = {name: options.pop(name) for name in ("limit", "memory") if name in options}
    session.namespace.update(options)
    return session.run(sql, engine=engine, **known)


#: The columns of sums that a dataset stores for each cell and each gene.
SUMS = ["nnz", "total", "sum_of_squares", "min", "max"]
