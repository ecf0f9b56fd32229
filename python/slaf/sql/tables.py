"""Frames and files of other libraries as tables of a statement."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa

from slaf._slaf import SlafError


def is_frame(value: Any) -> bool:
    """Whether a statement can use `value` as a table: a frame of any library that exports
    Arrow streams. Columns export them too, but are not tables."""
    kind = type(value)
    if issubclass(kind, (pl.Series, pd.Series, pa.ChunkedArray)):
        return False
    return issubclass(kind, pl.LazyFrame) or hasattr(kind, "__arrow_c_stream__")


def table_of(value: Any, *, schema_only: bool = False) -> Any:
    """A frame in the form that the engine accepts: an Arrow stream, or a schema with a
    function that opens one; None for other objects."""
    if not is_frame(value):
        return None
    if isinstance(value, (pl.DataFrame, pl.LazyFrame)):
        value = _of_polars(value)
    if isinstance(value, pl.LazyFrame):
        schema = pl.DataFrame(schema=value.collect_schema()).to_arrow().schema
        return schema, lambda columns, conditions: _stream(value, schema, columns, conditions)
    if isinstance(value, pd.DataFrame):
        frame = value.rename(columns=str)
        if schema_only:
            schema = _of_pandas(frame.head(100), preserve_index=False).schema
            return schema, lambda columns, conditions: _of_pandas(
                frame[columns], preserve_index=False
            )
        return _of_pandas(frame, preserve_index=_names_rows(value))
    return value


#: Polars types that Arrow does not have, and types that can hold their values.
_WIDER = {pl.Null: pl.Int32, pl.Int128: pl.Decimal(38, 0)}


def _of_polars(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame | pl.LazyFrame:
    """Columns of only null become numbers, as in DuckDB, and wide integers become
    decimals."""
    wider = {
        name: _WIDER[dtype] for name, dtype in frame.collect_schema().items() if dtype in _WIDER
    }
    return frame.cast(wider) if wider else frame


#: Arrow's errors for pandas columns that it cannot convert.
_UNKNOWN_TO_ARROW = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError)


def _of_pandas(frame: pd.DataFrame, preserve_index: bool | None) -> pa.Table:
    """Sparse columns become dense, and columns of several types become text."""
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
    """Whether a frame's index has meaning: then it becomes a column."""
    return None if frame.index.name is not None else False


#: A condition on a column: its name, an operator, and values.
_Condition = tuple[str, str, list[Any]]

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


def _filtered(frame: pl.LazyFrame, conditions: list[_Condition]) -> pl.LazyFrame:
    """The rows that the statement may need. It filters them again, so comparisons that
    Polars might evaluate differently (codes for text, -0.0) are left to it."""
    schema = frame.collect_schema()
    for name, sign, values in conditions:
        kinds, dtype = {type(value) for value in values}, schema[name]
        same = (kinds <= {int} and dtype.is_integer()) or (kinds <= {str} and dtype == pl.String)
        floats = kinds == {float} and dtype == pl.Float64 and 0.0 not in values
        if same or floats or sign in ("null", "not null"):
            frame = frame.filter(_SIGNS[sign](pl.col(name), values))
    return frame


def _stream(
    frame: pl.LazyFrame, schema: pa.Schema, columns: list[str], conditions: list[_Condition]
) -> pa.RecordBatchReader:
    frame = _filtered(frame, conditions)
    schema = pa.schema([schema.field(name) for name in columns])
    batches = (
        batch
        for part in frame.select(columns).collect_batches()
        for batch in part.to_arrow().cast(schema).to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def scan_file(path: str) -> pl.LazyFrame:
    """Scans a file by the ending of its name."""
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
                f"`{path}` cannot be read: .parquet, .csv, .tsv, .arrow, .feather and .lance can."
            )
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SlafError(f"`{path}` cannot be read: {first.rstrip('.')}.") from None
    return frame
