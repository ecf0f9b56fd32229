"""Joins of every kind, with missing keys on either side, have DuckDB's answer."""

from __future__ import annotations

import duckdb
import polars as pl
import pytest
from conftest import make_counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from sql_answers import compare

TABLES = {
    "a": pl.DataFrame(
        {"k": [1, 2, 2, None, 5], "p": ["x", "y", None, "z", "x"], "q": [10, 20, 30, 40, None]}
    ),
    "b": pl.DataFrame(
        {"r": [1.5, 2.5, None, 4.5], "k": [2, 3, None, 5], "p": ["y", "w", "z", None]}
    ),
    "c": pl.DataFrame({"k": [3, 1, 7, None], "s": [True, False, None, True]}),
}


@pytest.fixture(scope="module")
def duck():
    connection = duckdb.connect()
    for name, frame in TABLES.items():
        connection.register(name, frame.to_arrow())
    return connection


class Frames:
    """A session of frames alone, with the `query` of a dataset."""

    def __init__(self, array: SLAFArray):
        self.array = array

    def query(self, sql: str, **options) -> pl.DataFrame:
        return self.array.query(sql, **TABLES, **options)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    target = tmp_path_factory.mktemp("joins") / "made.slaf"
    SLAFConverter().convert_anndata(make_counts(10, 10, seed=1), target)
    return Frames(SLAFArray(target))


WRITTEN = [
    "SELECT * FROM a FULL JOIN b USING (k)",
    "SELECT * FROM a RIGHT JOIN b USING (k)",
    "SELECT * FROM a NATURAL FULL JOIN b",
    "SELECT * FROM a NATURAL RIGHT JOIN b",
    "SELECT * FROM a FULL JOIN b USING (p, k)",
    "SELECT k FROM a FULL JOIN b USING (k)",
    "SELECT a.k, b.k, k FROM a FULL JOIN b USING (k)",
    "SELECT * EXCLUDE (k) FROM a FULL JOIN b USING (k)",
    "SELECT * EXCLUDE k FROM a FULL JOIN b USING (k)",
    "SELECT * REPLACE (k + 1 AS k) FROM a FULL JOIN b USING (k)",
    "SELECT * RENAME (k AS key) FROM a RIGHT JOIN c USING (k)",
    "SELECT a.*, b.* FROM a FULL JOIN b USING (k)",
    "SELECT * FROM a FULL JOIN b USING (k) LEFT JOIN c USING (k)",
    "SELECT * FROM a FULL JOIN b USING (k) FULL JOIN c USING (k)",
    "SELECT * FROM a JOIN b USING (k) RIGHT JOIN c USING (k)",
    "SELECT COUNT(k), COUNT(*), SUM(k) FROM a FULL JOIN b USING (k)",
    "SELECT k, (SELECT COUNT(*) FROM c WHERE c.k = a.k) AS n FROM a FULL JOIN b USING (k)",
    "SELECT k, (SELECT MAX(k) FROM c) AS n FROM a FULL JOIN b USING (k)",
    "SELECT k FROM a RIGHT JOIN b USING (k) WHERE EXISTS (SELECT 1 FROM c WHERE c.k = b.k)",
    "SELECT x.k FROM a x FULL JOIN b y USING (k) WHERE k > 1",
    "SELECT k, COUNT(*) AS n, SUM(q) AS t FROM a FULL JOIN b USING (k) GROUP BY k",
    "SELECT k, COUNT(*) AS n FROM a FULL JOIN b USING (k) GROUP BY 1 HAVING k > 1",
    "SELECT K AS g, COUNT(*) AS n FROM a RIGHT JOIN b USING (k) GROUP BY ALL",
    "SELECT DISTINCT k FROM a FULL JOIN b USING (k)",
    "SELECT k, ROW_NUMBER() OVER (PARTITION BY k ORDER BY q, r) AS n FROM a FULL JOIN b USING (k)",
    "SELECT k FROM a FULL JOIN c USING (k) QUALIFY RANK() OVER (ORDER BY k) < 3",
    "SELECT * FROM (a FULL JOIN b USING (k)) RIGHT JOIN c USING (k)",
    "SELECT * FROM a FULL JOIN (b FULL JOIN c USING (k)) USING (k)",
    "SELECT * FROM (SELECT k, p FROM a) FULL JOIN (SELECT k, r FROM b) USING (k)",
    "WITH l AS (SELECT k, q FROM a WHERE q > 10), r AS (SELECT * FROM b) FROM l FULL JOIN r USING (k)",
    "WITH t AS (SELECT * FROM a FULL JOIN b USING (k)) SELECT k, q FROM t RIGHT JOIN c USING (k)",
    "SELECT k FROM a FULL JOIN b USING (k) UNION SELECT k FROM b RIGHT JOIN c USING (k)",
    "SELECT k, q FROM a RIGHT JOIN c USING (k) EXCEPT SELECT k, q FROM a",
    "SELECT * FROM a AS t(k, u, v) FULL JOIN b USING (k)",
    "SELECT * FROM a FULL JOIN (VALUES (1, 'v'), (9, 'w')) AS t(k, v) USING (k)",
    "SELECT k + 1 AS z FROM a RIGHT JOIN b USING (k)",
    "SELECT COALESCE(k, -1) AS z, p FROM a FULL JOIN c USING (k)",
    "SELECT t.k FROM (SELECT k FROM a FULL JOIN b USING (k)) t JOIN c ON t.k = c.k",
    "SELECT * FROM a, (SELECT * FROM b FULL JOIN c USING (k)) AS t WHERE a.k = t.k",
    "FROM a FULL JOIN b USING (k)",
    "FROM a FULL JOIN b USING (k) SELECT k, r",
    "SELECT * FROM a NATURAL JOIN b",
    "SELECT * FROM a NATURAL LEFT JOIN b",
    "SELECT * FROM a LEFT JOIN b USING (k) LEFT JOIN c USING (k)",
    "SELECT * FROM a SEMI JOIN b USING (k)",
    "SELECT * FROM a ANTI JOIN b USING (k)",
]
ORDERED = [
    "SELECT k, q, r FROM a FULL JOIN b USING (k) ORDER BY k, q, r",
    "SELECT q, r FROM a FULL JOIN b USING (k) ORDER BY k DESC, q, r",
    "SELECT k AS z, r FROM a RIGHT JOIN b USING (k) ORDER BY k, r",
    "SELECT -k AS k, r FROM a RIGHT JOIN b USING (k) ORDER BY k, r LIMIT 3",
]


@pytest.mark.parametrize("sql", WRITTEN)
def test_a_join_has_duckdbs_answer(frames, duck, sql):
    compare(frames, duck, sql)
    assert [n.lower() for n in frames.query(sql).columns] == named(duck.sql(sql).columns)


def named(columns: list[str]) -> list[str]:
    """DuckDB's names, as its frames number them."""
    found: list[str] = []
    for column in columns:
        column = column.replace("count_star()", "count(*)")
        numbered = [column.lower(), *(f"{column.lower()}_{n}" for n in range(1, 9))]
        found.append(next(name for name in numbered if name not in found))
    return found


@pytest.mark.parametrize("sql", ORDERED)
def test_an_order_by_the_key_is_duckdbs(frames, duck, sql):
    compare(frames, duck, sql, ordered=True)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM a FULL JOIN generate_series(1, 3) USING (k)",
        "SELECT * FROM a FULL JOIN b USING (nothing)",
        "SELECT * FROM a NATURAL FULL JOIN (SELECT 1 AS other)",
    ],
)
def test_a_key_that_cannot_be_told_is_said(frames, sql):
    with pytest.raises(SlafError, match="ON a.k = b.k"):
        frames.query(sql)


KINDS = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]


@st.composite
def chains(draw) -> str:
    """A FROM clause in which `k` has one meaning."""
    left, right, *third = draw(st.permutations(["a", "b", "c"]))
    kind = draw(st.sampled_from(KINDS))
    common = {"p"} if "c" not in (left, right) else set()
    how = draw(st.sampled_from(["USING (k)", "NATURAL", "USING (k, p)" if common else "USING (k)"]))
    chain = f"{left} NATURAL {kind} {right}" if how == "NATURAL" else f"{left} {kind} {right} {how}"
    if draw(st.booleans()):
        kind = draw(st.sampled_from(KINDS))
        chain += f" {kind} {third[0]} USING (k)"
    return chain


@st.composite
def selects(draw) -> str:
    chain = draw(chains())
    where = draw(
        st.sampled_from(
            ["", "WHERE k > 1", "WHERE k IS NULL", "WHERE k IN (1, 3) OR k = 5", "WHERE NOT k = 2"]
        )
    )
    shape = draw(st.integers(0, 5))
    if shape == 0:
        return f"SELECT k, COUNT(*) AS n FROM {chain} {where} GROUP BY k"
    if shape == 1:
        return f"SELECT k % 2 AS o, SUM(k) AS s FROM {chain} {where} GROUP BY o HAVING COUNT(*) > 1"
    if shape == 2:
        return (
            f"WITH t AS (SELECT * FROM {chain} {where}) SELECT k, COUNT(*) AS n FROM t GROUP BY k"
        )
    if shape == 3:
        operator = draw(st.sampled_from(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]))
        return f"SELECT k FROM {chain} {where} {operator} SELECT k FROM {draw(chains())}"
    if shape == 4:
        return f"FROM {chain} SELECT k {where}"
    return (
        f"SELECT t.k, u.s FROM (SELECT k FROM {chain} {where}) AS t LEFT JOIN c AS u ON t.k = u.k"
    )


@given(sql=selects())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_generated_joins(frames, duck, sql):
    compare(frames, duck, sql)
