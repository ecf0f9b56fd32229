"""SQL sessions: the tables that a statement may name, the values that it may
use, and the names that it gives. The engine is Rust's; what is looked up here
are Python's variables."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from slaf import SlafError, _slaf
from slaf._axis import argument
from slaf._hints import did_you_mean

#: Longer lists of ids are joined as a table.
_FEW = 200
#: Longer lists of numbers are no vector.
_VECTOR = 8192

#: A handle: `(variable, dataset, cells, genes)`.
Handle = tuple[str, Any, Any, Any]
#: Open handles, and the place of the one whose tables need no prefix.
Handles = tuple[list[Handle], int | None]


@dataclass
class SqlSession:
    """Statements over the variables of `namespace`.

    `handles(on)` gives the open datasets; tables that are created become
    variables, and views are kept.
    """

    namespace: MutableMapping[str, Any]
    handles: Callable[[str | None], Handles]
    views: dict[str, str] = field(default_factory=dict)

    def run(
        self, text: str, *, watch: Callable[[int, int], None] | None = None, **options: Any
    ) -> _slaf.Answer | None:
        """Runs all statements of `text`; the answer of the last.

        `options` are `on` (a handle's variable), `engine`, `limit` and `memory`
        (bytes).
        """
        answer = None
        for statement in _slaf.split_sql(text):
            answer = self._statement(statement, watch, **options)
        return answer

    def prepared(self, text: str, on: str | None = None) -> Prepared:
        """One statement with what it needs, as it is now."""
        names, values = [], {}
        scope = {"ident": str, **self.namespace}
        for place, (expression, is_name) in enumerate(_slaf.sql_holes(text)):
            value = _evaluated(expression, scope)
            names.append(str(value) if is_name else None)
            if not is_name:
                values[f"_{place}"] = value
        text = _slaf.fill_sql(text, names)
        statement = _slaf.parse_sql(text)
        for name in statement.parameters:
            if name not in values:
                values[name] = self._variable(name)
        frames: dict[str, Any] = {}
        params = {name: _param(name, value, frames) for name, value in values.items()}
        lances = self._gather(statement, frames)
        handles, default = self.handles(on)
        others = [name for name, value in self.namespace.items() if _may_be_table(name, value)]
        views = list(self.views.items())
        catalog = (handles, default, list(frames.items()), views, lances, others)
        return Prepared(text, statement, catalog, params)

    def catalog(self, on: str | None = None) -> tuple:
        """All tables by their names, for completion."""
        handles, default = self.handles(on)
        frames = {
            name: table
            for name, value in self.namespace.items()
            if not name.startswith("_") and (table := _table(value, schema_only=True)) is not None
        }
        return (handles, default, list(frames.items()), list(self.views.items()), [], [])

    def _statement(
        self, text: str, watch: Any, on: str | None = None, **options: Any
    ) -> _slaf.Answer | None:
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
            answer = prepared.run(watch=watch, **options)
            self.views.pop(statement.name, None)
            self.namespace[statement.name] = pl.DataFrame(answer)
            return answer
        return prepared.run(watch=watch, **options)

    def _kept(self, prepared: Prepared) -> str:
        """The query of a view, with the values that its parameters have now."""
        for name, value in prepared.params.items():
            if isinstance(value, tuple) and value[0] == "frame":
                raise SlafError(
                    f"A view keeps its values, and `{name}` is a frame or a list of more than "
                    f"{_FEW}. Create a table: `CREATE TABLE {prepared.statement.name} AS …`."
                )
        return _slaf.bound_sql(prepared.text, prepared.params)

    def _is_free(self, statement: _slaf.Statement) -> bool:
        """Whether the name is to be given."""
        name = statement.name
        taken = name in self.views or _table(self.namespace.get(name)) is not None
        if taken and statement.taken == "refused":
            raise SlafError(f"There is a table `{name}` already. Write `CREATE OR REPLACE …`.")
        return not taken or statement.taken == "replaced"

    def _drop(self, statement: _slaf.Statement) -> None:
        name = statement.name
        if self.views.pop(name, None) is not None:
            return
        if _table(self.namespace.get(name)) is not None:
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
        """Adds the frames that a statement, or a view of it, names; the paths of
        Lance tables."""
        lances, todo, seen = [], [statement], set()
        while todo:
            statement = todo.pop()
            for path in statement.reads:
                key = f"read:{path}"
                if path.rstrip("/").endswith(".lance"):
                    lances.append((key, path))
                elif key not in frames:
                    frames[key] = _table(_scan(path))
            for name in statement.tables:
                if name in self.views:
                    if name not in seen:
                        seen.add(name)
                        todo.append(_slaf.parse_sql(self.views[name]))
                    continue
                if name not in frames and name in self.namespace:
                    table = _table(self.namespace[name])
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
        return _slaf.query(self._query(), self.catalog, self.params, **options)

    def _query(self) -> str:
        return self.statement.query if self.statement.kind == "create_table" else self.text

    def lazy(self, **options: Any) -> pl.LazyFrame:
        """The rows as a polars plan: the columns and rows that it asks for go
        into the statement, and nothing is read before it is collected."""
        from slaf.lazy.scan.statement import of_statement

        return of_statement(self.text, lambda text: pl.DataFrame(self._ask(text, options)))

    def _ask(self, text: str, options: dict[str, Any]) -> _slaf.Answer:
        return _slaf.query(text, self.catalog, self.params, **options)


def _evaluated(expression: str, scope: Mapping[str, Any]) -> Any:
    try:
        # The author's own code, as in a cell of Python.
        return eval(expression, dict(scope))
    except NameError as error:
        name = error.name or expression
        raise SlafError(f"There is no variable `{name}`.{_hint(name, scope)}") from None
    except Exception as error:
        raise SlafError(f"`{{{{{expression}}}}}` fails: {error}") from None


def _hint(name: str, known: Any) -> str:
    near = _slaf.nearest(name, [n for n in known if isinstance(n, str)])
    return did_you_mean(near)


def _param(name: str, value: Any, frames: dict[str, Any]) -> Any:
    """`value` as the engine takes it; long lists and frames become tables."""
    if isinstance(value, pl.Series):
        value = value.to_list()
    elif isinstance(value, (pd.Series, pd.Index, np.ndarray)):
        if getattr(value, "ndim", 1) != 1:
            raise SlafError(f"`{name}` has {value.ndim} dimensions, and a list has one.")
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset, range)):
        items = [_scalar(name, item) for item in value]
        numbers = all(isinstance(item, float) for item in items)
        if len(items) <= _FEW or (numbers and len(items) <= _VECTOR):
            return items
        value = pa.table({"value": pa.array(items)})
    table = None if isinstance(value, str) else _table(value)
    if table is None:
        return _scalar(name, value)
    columns = len(value.columns) if hasattr(value, "columns") else 1
    if columns != 1:
        raise SlafError(f"`{name}` has {columns} columns, and a list has one. Select one of them.")
    frames[f"_param:{name}"] = table
    return ("frame", f"_param:{name}")


def _scalar(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return ("timestamp", value.isoformat(sep=" "))
        moment = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return ("timestamptz", moment.isoformat(sep=" "))
    if isinstance(value, datetime.date):
        return ("date", value.isoformat())
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise SlafError(f"`{name}` is {value}, which no BIGINT holds.")
    if isinstance(value, (bool, int, float, str)):
        return value
    raise SlafError(
        f"`{name}` is a {type(value).__name__}, and SQL takes numbers, texts, dates, lists and "
        "frames."
    )


def _may_be_table(name: str, value: Any) -> bool:
    """Whether a misspelt table may have meant `name`."""
    return not name.startswith("_") and isinstance(
        value, (pl.DataFrame, pl.LazyFrame, pd.DataFrame, pa.Table)
    )


def _table(value: Any, *, schema_only: bool = False) -> Any:
    """A frame as the engine takes it: an Arrow stream, or a schema with a
    function that opens one; None of anything else."""
    if isinstance(value, (pl.DataFrame, pl.LazyFrame)):
        value = _of_polars(value)
    if isinstance(value, pl.LazyFrame):
        schema = pl.DataFrame(schema=value.collect_schema()).to_arrow().schema
        return schema, lambda columns, told: _stream(value, schema, columns, told)
    if isinstance(value, (type, _slaf.Answer)) or not hasattr(value, "__arrow_c_stream__"):
        return value if isinstance(value, _slaf.Answer) else None
    if isinstance(value, (pl.Series, pd.Series, pa.ChunkedArray)):
        return None
    if isinstance(value, pd.DataFrame):
        frame = value.rename(columns=str)
        if schema_only:
            schema = _of_pandas(frame.head(100), preserve_index=False).schema
            return schema, lambda columns, told: _of_pandas(frame[columns], preserve_index=False)
        return _of_pandas(frame, preserve_index=_names_rows(value))
    return value


#: Types of polars that Arrow has under no name, and what holds their values.
_WIDER = {pl.Null: pl.Int32, pl.Int128: pl.Decimal(38, 0)}


def _of_polars(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame | pl.LazyFrame:
    """Columns of nothing but null become numbers, as DuckDB takes them, and those of
    wide integers decimals."""
    wider = {
        name: _WIDER[dtype] for name, dtype in frame.collect_schema().items() if dtype in _WIDER
    }
    return frame.cast(wider) if wider else frame


#: What Arrow says of columns of pandas that it does not know.
_UNKNOWN_TO_ARROW = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError)


def _of_pandas(frame: pd.DataFrame, preserve_index: bool | None) -> pa.Table:
    """Sparse columns become dense, and those of several types become text."""
    try:
        return pa.Table.from_pandas(frame, preserve_index=preserve_index)
    except _UNKNOWN_TO_ARROW:
        pass
    columns = {name: _of_series(frame.iloc[:, at]) for at, name in enumerate(frame.columns)}
    plain = pd.DataFrame(columns, index=frame.index)
    return pa.Table.from_pandas(plain, preserve_index=preserve_index)


def _of_series(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    try:
        pa.Array.from_pandas(column)
    except _UNKNOWN_TO_ARROW:
        return column.map(str, na_action="ignore").astype(object)
    return column


def _names_rows(frame: pd.DataFrame) -> bool | None:
    """Whether a frame's index says something: then it is a column."""
    return None if frame.index.name is not None else False


#: A condition of a statement on a column: its name, a sign, and values.
_Told = tuple[str, str, list[Any]]

_SIGNS: dict[str, Callable[[pl.Expr, list[Any]], pl.Expr]] = {
    "=": lambda column, values: column == values[0],
    "<": lambda column, values: column < values[0],
    "<=": lambda column, values: column <= values[0],
    ">": lambda column, values: column > values[0],
    ">=": lambda column, values: column >= values[0],
    "in": lambda column, values: column.is_in(values),
    "null": lambda column, _: column.is_null(),
    "not null": lambda column, _: column.is_not_null(),
}


def _filtered(frame: pl.LazyFrame, told: list[_Told]) -> pl.LazyFrame:
    """The rows that the statement may ask for. It filters them again, so what polars
    might take otherwise (codes for texts, -0.0) is left to it."""
    schema = frame.collect_schema()
    for name, sign, values in told:
        kinds, dtype = {type(value) for value in values}, schema[name]
        same = (kinds <= {int} and dtype.is_integer()) or (kinds <= {str} and dtype == pl.String)
        floats = kinds == {float} and dtype == pl.Float64 and 0.0 not in values
        if same or floats or sign in ("null", "not null"):
            frame = frame.filter(_SIGNS[sign](pl.col(name), values))
    return frame


def _stream(
    frame: pl.LazyFrame, schema: pa.Schema, columns: list[str], told: list[_Told]
) -> pa.RecordBatchReader:
    frame = _filtered(frame, told)
    schema = pa.schema([schema.field(name) for name in columns])
    batches = (
        batch
        for part in frame.select(columns).collect_batches()
        for batch in part.to_arrow().cast(schema).to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _scan(path: str) -> pl.LazyFrame:
    """A file by its name's end."""
    if "://" not in path and not any(c in path for c in "*?[") and not os.path.exists(path):
        raise SlafError(f"There is no file `{path}`. Check the spelling.")
    name = path.rstrip("/").lower().removesuffix(".gz").removesuffix(".zst")
    try:
        if name.endswith((".parquet", ".pq")):
            frame = pl.scan_parquet(path)
        elif name.endswith(".csv"):
            frame = pl.scan_csv(path)
        elif name.endswith((".tsv", ".txt")):
            frame = pl.scan_csv(path, separator="\t")
        elif name.endswith((".arrow", ".ipc", ".feather")):
            frame = pl.scan_ipc(path)
        else:
            raise SlafError(
                f"`{path}` is in no format that is read: .parquet, .csv, .tsv, .arrow, .feather "
                "and .lance are."
            )
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SlafError(f"`{path}` cannot be read: {first.rstrip('.')}.") from None
    return frame


def bytes_of(text: str) -> int:
    """`2 GB` as a number."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number = text.strip().rstrip("BKMGTibkmgt ")
    unit = text.strip()[len(number) :].strip().upper().replace("I", "")
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError):
        raise ValueError(f"`{text}` is no amount of memory. Write it as `2 GB`.") from None


def of_array(array: Any, cells: Any = None, genes: Any = None) -> SqlSession:
    """The session of one dataset, or of some of its cells and genes, whose tables
    need no prefix."""
    axes = zip((cells, genes), array.shape, strict=True)
    parts = [argument(range(n) if part is None else part) for part, n in axes]
    handle = ("dataset", array._dataset, *parts)
    return SqlSession({}, lambda on: ([handle], 0))
