"""SQL sessions: the tables that a statement can name, the values that it can use, and the
views that it defines. Rust runs the statement; this module looks up Python variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl

from slaf import _slaf
from slaf._slaf import SlafError
from slaf.dataset import Dataset
from slaf.ground import axes
from slaf.ground.hints import did_you_mean
from slaf.ground.progress import job
from slaf.ground.workers import current
from slaf.sql.params import FEW, param
from slaf.sql.shared import can_share, run_shared
from slaf.sql.tables import is_frame, scan_file, table_of

#: A handle: `(variable, dataset, cells, genes)`.
Handle = tuple[str, Any, Any, Any]
#: Open handles, and the index of the one whose tables need no prefix.
Handles = tuple[list[Handle], int | None]

#: Cells are run again, and dashboards ask the same questions.
_parsed = lru_cache(maxsize=256)(_slaf.parse_sql)


@dataclass
class SqlSession:
    """Runs SQL statements over the variables of `namespace`.

    `handles(on)` returns the open datasets. Tables that are created become variables,
    and views are kept.
    """

    namespace: MutableMapping[str, Any]
    handles: Callable[[str | None], Handles]
    views: dict[str, str] = field(default_factory=dict)

    def run(self, text: str, **options: Any) -> _slaf.Answer | None:
        """Runs all statements of `text`; returns the result of the last.

        `options` are `on` (a handle's variable), `engine`, `limit` and `memory`
        (bytes).
        """
        answer = None
        for statement in _slaf.split_sql(text):
            answer = self._statement(statement, **options)
        return answer

    @contextmanager
    def given(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Adds `values` as variables while it is active."""
        before = {name: self.namespace[name] for name in values if name in self.namespace}
        self.namespace.update(values)
        try:
            yield
        finally:
            for name in values:
                self.namespace.pop(name, None)
            self.namespace.update(before)

    def prepared(self, text: str, on: str | None = None) -> Prepared:
        """One statement with everything that it needs, in its present state."""
        names, values = [], {}
        scope = {"ident": str, **self.namespace}
        for place, (expression, is_name) in enumerate(_slaf.sql_holes(text)):
            value = _evaluated(expression, scope)
            names.append(str(value) if is_name else None)
            if not is_name:
                values[f"_{place}"] = value
        text = _slaf.fill_sql(text, names)
        statement = _parsed(text)
        for name in statement.parameters:
            if name not in values:
                values[name] = self._variable(name)
        frames: dict[str, Any] = {}
        params = {name: param(name, value, frames) for name, value in values.items()}
        lances = self._gather(statement, frames)
        handles, default = self.handles(on)
        others = [
            name
            for name, value in self.namespace.items()
            if not name.startswith("_") and is_frame(value)
        ]
        views = list(self.views.items())
        catalog = (handles, default, list(frames.items()), views, lances, others)
        return Prepared(text, statement, catalog, params)

    def catalog(self, on: str | None = None) -> tuple:
        """All tables by their names, for completion."""
        handles, default = self.handles(on)
        frames = {
            name: table
            for name, value in self.namespace.items()
            if not name.startswith("_") and (table := table_of(value, schema_only=True)) is not None
        }
        return (handles, default, list(frames.items()), list(self.views.items()), [], [])

    def _statement(self, text: str, on: str | None = None, **options: Any) -> _slaf.Answer | None:
        prepared = self.prepared(text, on)
        statement = prepared.statement
        if statement.kind == "drop":
            self._drop(statement)
            return None
        if statement.kind == "create_view":
            if self._is_free(statement):
                self.views[statement.name] = self._kept(prepared)
            return None
        if statement.kind == "create_table":
            if not self._is_free(statement):
                return None
            answer = prepared.run(**options)
            self.views.pop(statement.name, None)
            self.namespace[statement.name] = pl.DataFrame(answer)
            return answer
        return prepared.run(**options)

    def _kept(self, prepared: Prepared) -> str:
        """The query of a view, with the present values of its parameters."""
        for name, value in prepared.params.items():
            if isinstance(value, tuple) and value[0] == "frame":
                raise SlafError(
                    f"A view keeps its values, and `{name}` is a frame or a list of more than "
                    f"{FEW}. Create a table: `CREATE TABLE {prepared.statement.name} AS …`."
                )
        return _slaf.bound_sql(prepared.text, prepared.params)

    def _is_free(self, statement: _slaf.Statement) -> bool:
        """Whether to define the name; raises if it is taken."""
        name = statement.name
        taken = name in self.views or table_of(self.namespace.get(name)) is not None
        if taken and statement.taken == "refused":
            raise SlafError(f"There is a table `{name}` already. Write `CREATE OR REPLACE …`.")
        return not taken or statement.taken == "replaced"

    def _drop(self, statement: _slaf.Statement) -> None:
        name = statement.name
        if self.views.pop(name, None) is not None:
            return
        if table_of(self.namespace.get(name)) is not None:
            del self.namespace[name]
        elif statement.taken == "refused":
            datasets = [dataset for _, dataset, *_ in self.handles(None)[0]]
            if any(name in (table for table, *_ in dataset.tables()) for dataset in datasets):
                raise SlafError(f"`{name}` belongs to a dataset, and datasets are only read here.")
            known = [*self.views, *self.namespace]
            raise SlafError(f"There is no table `{name}` to drop.{_hint(name, known)}")

    def _variable(self, name: str) -> Any:
        if name not in self.namespace:
            known = [n for n in self.namespace if not n.startswith("_")]
            raise SlafError(f"There is no variable `{name}`.{_hint(name, known)}")
        return self.namespace[name]

    def _gather(self, statement: _slaf.Statement, frames: dict[str, Any]) -> list:
        """Collects the frames that a statement, or one of its views, names; returns the
        paths of Lance tables."""
        lances, todo, seen = [], [statement], set()
        while todo:
            statement = todo.pop()
            for path in statement.reads:
                key = f"read:{path}"
                if path.rstrip("/").endswith(".lance"):
                    lances.append((key, path))
                elif key not in frames:
                    frames[key] = table_of(scan_file(path))
            for name in statement.tables:
                if name in self.views:
                    if name not in seen:
                        seen.add(name)
                        todo.append(_parsed(self.views[name]))
                    continue
                if name not in frames and name in self.namespace:
                    table = table_of(self.namespace[name])
                    if table is not None:
                        frames[name] = table
        return lances


@dataclass
class Prepared:
    """A statement, its tables and its parameters."""

    text: str
    statement: _slaf.Statement
    catalog: tuple
    params: dict[str, Any]

    def run(self, **options: Any) -> _slaf.Answer:
        workers = current()
        if workers is not None and can_share(self.catalog):
            answer = run_shared(workers, self._query(), self.catalog, self.params, **options)
            if answer is not None:
                return answer
        return self.ask(self._query(), **options)

    def _query(self) -> str:
        return self.statement.query if self.statement.kind == "create_table" else self.text

    def ask(
        self, text: str, *, watch: Callable[..., None] | None = None, **options: Any
    ) -> _slaf.Answer:
        """Runs another statement over the same tables. `watch` is called regularly, and
        can raise; without it, the progress is shown."""
        if watch is not None:
            return _slaf.query(text, self.catalog, self.params, watch=watch, **options)
        with job("SQL", unit="row") as reading:
            return _slaf.query(text, self.catalog, self.params, watch=reading, **options)


def _evaluated(expression: str, scope: Mapping[str, Any]) -> Any:
    try:
        # The user's own code, as in a Python cell.
        return eval(expression, dict(scope))
    except NameError as error:
        name = error.name or expression
        raise SlafError(f"There is no variable `{name}`.{_hint(name, scope)}") from None
    except Exception as error:
        raise SlafError(f"`{{{{{expression}}}}}` fails: {error}") from None


def _hint(name: str, known: Any) -> str:
    near = _slaf.nearest(name, [n for n in known if isinstance(n, str)])
    return did_you_mean(near)


def session_of(
    dataset: Dataset, cells: axes.Positions | None = None, genes: axes.Positions | None = None
) -> SqlSession:
    """A session for one dataset, or for some of its cells and genes, whose tables need
    no prefix."""
    named = zip((cells, genes), dataset.shape, strict=True)
    part = [axes.argument(range(n) if rows is None else rows) for rows, n in named]
    handle = ("dataset", dataset.engine, *part)
    return SqlSession({}, lambda on: ([handle], 0))


def ask(dataset: Dataset, text: str, **params: Any) -> pl.DataFrame:
    """The result of a single query on a dataset; `params` are values for `$name`."""
    session = session_of(dataset)
    session.namespace.update(params)
    return pl.DataFrame(session.run(text))
