"""Filters that Polars and SQL pass to each other lose no rows."""

from __future__ import annotations

import functools
import operator

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.io.plugins import register_io_source
from slaf import SLAFArray

c = pl.col
told_of = {
    "n": pl.Series([1, 2, None, -3, 5, 0], dtype=pl.Int32),
    "x": pl.Series([0.5, -0.0, 0.0, None, float("nan"), -1.5], dtype=pl.Float64),
    "f": pl.Series([0.1, 0.5, None, float("nan"), -0.0, 2.0], dtype=pl.Float32),
    "s": pl.Series(["a", "it's", None, "", "B", "ä"], dtype=pl.String),
    "b": pl.Series([True, False, None, True, False, True], dtype=pl.Boolean),
}
columns_told = st.sampled_from(list(told_of))
literals = st.sampled_from([0, 1, 2, -3, 0.0, 0.1, 0.5, 2.0, float("nan"), "a", "it's", "", True])
signs = st.sampled_from(["__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"])


@st.composite
def filters(draw):
    column = c(draw(columns_told))
    form = draw(st.integers(0, 5))
    if form == 0:
        return draw(st.sampled_from([column.is_null(), column.is_not_null()]))
    if form == 1:
        return column.is_in(draw(st.lists(st.sampled_from([0, 1, 2, -3]), max_size=3)))
    if form == 2:
        return column.is_in(draw(st.lists(st.sampled_from(["a", "it's", ""]), max_size=3)))
    if form == 3:
        return column.is_between(draw(literals), draw(literals))
    if form == 4:
        return pl.lit(draw(literals)) < column
    return getattr(column, draw(signs))(draw(literals))


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(filters(), min_size=1, max_size=3))
def test_what_sql_is_told_leaves_out_no_row(pbmc_slaf, parts):
    from slaf.lazy.scan.condition import where

    frame = pl.DataFrame(told_of).with_row_index("row")
    predicate = functools.reduce(operator.and_, parts)
    try:
        want = set(frame.filter(predicate)["row"])
    except pl.exceptions.PolarsError:
        return
    conditions = where(predicate, frame.schema) or ["TRUE"]
    sql = f"SELECT row FROM frame WHERE {' AND '.join(conditions)}"
    assert want <= set(SLAFArray(pbmc_slaf).query(sql, frame=frame)["row"])


def test_functions_of_a_column_are_not_told():
    from slaf.lazy.scan.condition import where

    schema = {"n": pl.Int64, "s": pl.String}
    assert where((c("n").sqrt() > 2) & (c("n") >= 3), schema) == ['"n" >= 3']
    assert where((c("n") > 2) | (c("n") < 1), schema) == []
    assert where(c("s").str.to_lowercase() == "a", schema) == []


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("n > 1", '(col("n")) > (1)'),
        ("s IN ('a', 'it''s')", "is_in"),
        ("n BETWEEN 1 AND 3 AND s IS NOT NULL", "is_not_null"),
        ("x > 0.25", "0.25"),
        ("n * 2 > 3", None),
        ("x = 0.0", None),
        ("n > 1 OR s = 'a'", None),
    ],
)
def test_filters_of_a_statement_go_into_plans_in_variables(pbmc_slaf, condition, told):
    frame, asked = pl.DataFrame(told_of), []

    def source(columns, predicate, n_rows, batch_size):
        asked.append(str(predicate))
        rows = frame if predicate is None else frame.filter(predicate)
        yield rows if columns is None else rows.select(columns)

    plan = register_io_source(source, schema=frame.schema)
    array = SLAFArray(pbmc_slaf)
    sql = f"SELECT n, s FROM frame WHERE {condition}"
    got = array.query(sql, frame=plan).sort("n", "s")
    assert got.equals(array.query(sql, frame=frame).sort("n", "s"))
    assert any(told in text for text in asked) if told else set(asked) == {"None"}
