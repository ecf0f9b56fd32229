"""Compares answers of two engines: their rows, and the kinds of their columns."""

from __future__ import annotations

import math

import polars as pl


def rows(frame: pl.DataFrame) -> list[tuple]:
    def plain(value):
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return value
        if isinstance(value, (int, float)) or type(value).__name__ == "Decimal":
            value = float(value)
            # The digit is chosen so that values such as 3.234375 are not rounded at a
            # half.
            return "nan" if math.isnan(value) else float(f"{value * (1 + 3e-8):.6g}")
        return str(value)

    return [tuple(plain(v) for v in row) for row in frame.rows()]


def key(row: tuple) -> tuple:
    return tuple(
        (v is None, str(type(v)), v if not isinstance(v, bool) else int(v))
        if v is not None
        else (True, "", 0)
        for v in row
    )


def kind(dtype) -> str:
    """The kind of values in a DuckDB or Polars type."""
    name = str(dtype).upper()
    if name.endswith("]") or name.startswith(("LIST", "ARRAY")):
        return "list"
    for kind, names in {
        "integer": ("INT", "UINT", "BIGINT", "HUGEINT", "SMALLINT", "TINYINT", "UBIGINT"),
        "float": ("FLOAT", "DOUBLE", "DECIMAL"),
        "text": ("VARCHAR", "STRING"),
        "time": ("DATE", "TIMESTAMP", "TIME"),
        "boolean": ("BOOL",),
    }.items():
        if name.startswith(names):
            return kind
    return name


def compare(array, duck, sql: str, ordered: bool = False, engines=(None,)) -> None:
    relation = duck.sql(sql)
    want, types = rows(relation.pl()), [kind(t) for t in relation.types]
    for engine in engines:
        frame = array.query(sql, engine=engine)
        got = rows(frame)
        if not ordered:
            got, want = sorted(got, key=key), sorted(want, key=key)
        assert got == want, f"{engine}: {sql}"
        kinds = [kind(dtype) for dtype in frame.dtypes]
        # A column of only NULL may have any type.
        pairs = [pair for pair in zip(kinds, types, strict=True) if "NULL" not in pair]
        assert all(a == b for a, b in pairs), f"{engine}: {sql}: {pairs}"
