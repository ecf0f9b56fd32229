"""The result of a SQL statement as a Polars LazyFrame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from slaf.lazy.scan.condition import where
from slaf.lazy.scan.source import Source, registered
from slaf.sql.names import quoted

#: Rows that Polars receives at a time.
_BATCH = 100_000


def of_statement(text: str, ask: Callable[[str], pl.DataFrame]) -> pl.LazyFrame:
    """The result of `text` as a LazyFrame; `ask` runs a statement."""
    return registered(_Statement(text.rstrip().rstrip(";"), ask))


class _Statement(Source):
    title = "SQL statement"

    def __init__(self, text: str, ask: Callable[[str], pl.DataFrame]):
        self._text, self._ask = text, ask
        self.schema = dict(ask(f"SELECT * FROM ({text}\n) LIMIT 0").schema)

    def batches(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        frame = self._ask(self._select(columns, predicate, n_rows))
        if predicate is not None:
            frame = frame.filter(predicate)
        return frame.select(columns).iter_slices(_BATCH)

    def described(
        self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None
    ) -> list[str]:
        lines = [self._select(columns, predicate, n_rows)]
        return lines if predicate is None else [*lines, f"filtered: {predicate}"]

    def _select(self, columns: list[str], predicate: pl.Expr | None, n_rows: int | None) -> str:
        needed = columns if predicate is None else [*columns, *predicate.meta.root_names()]
        names = ", ".join(quoted(name) for name in dict.fromkeys(needed))
        statement = f"SELECT {names} FROM ({self._text}\n)"
        if n_rows is not None:
            # The rows are counted before the predicate.
            return f"{statement} LIMIT {n_rows}"
        conditions = [] if predicate is None else where(predicate, self.schema)
        return f"{statement} WHERE {' AND '.join(conditions)}" if conditions else statement
