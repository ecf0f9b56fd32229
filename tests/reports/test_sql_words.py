"""What people write in DuckDB's SQL and in cells: functions, slices, structs, quotes,
comments, notebook variables. The answers are DuckDB's."""

from __future__ import annotations

import datetime
import math

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import make_counts
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.sql.session import SqlSession

VALUES = pl.DataFrame(
    {
        "s": ["abc", "ABC def", "", None, "héllo wörld", "a_b%c", "  pad "],
        "n": [1, -2, 0, None, 7, 10, 3],
        "x": [1.5, -2.5, 0.0, None, 2.5, 1e10, 4.0],
        "l": [[1, 2, 3], [], None, [4], [5], [3, 1, 2], [7]],
        "d": [None] + [datetime.datetime(2024, m, 15, 13, 45, 59) for m in (1, 2, 3, 6, 11, 12)],
    }
)
DOG = [{"k": 1, "l": "z"}, {"k": 2, "l": None}]


@pytest.fixture(scope="module")
def session():
    values = {"t": VALUES, "structs": pl.DataFrame({"s": DOG})}
    return SqlSession(values, lambda on: ([], None))


@pytest.fixture(scope="module")
def duck():
    connection = duckdb.connect()
    connection.register("t", VALUES.to_arrow())
    connection.register("structs", pl.DataFrame({"s": DOG}).to_arrow())
    return connection


def told(value):
    if isinstance(value, float):
        return "nan" if math.isnan(value) else float(f"{value:.9g}")
    if type(value).__name__ == "Decimal":
        return float(value)
    if isinstance(value, (list, pl.Series)):
        return [told(item) for item in value]
    return value


def answer(session, sql: str) -> list:
    return [[told(v) for v in row] for row in pl.DataFrame(session.run(sql)).rows()]


SLICES = [
    f"{of}{part}"
    for of in ("s", "l", "'héllo'", "(s || '!')")
    for part in (
        "[1]", "[5]", "[6]", "[-1]", "[-5]", "[2:3]", "[-2:]", "[:2]", "[3:1]", "[0:2]",
        "[-10:2]", "[2:100]", "[:]", "[-3:-2]", "[n:]", "[:-1]",
    )
]  # fmt: skip
WORDS = [
    "upper(s)", "length(s)", "len(s)", "strlen(s)", "reverse(s)", "trim(s)", "left(s, 2)",
    "right(s, -1)", "substr(s, 2, 2)", "substr(s, -2)", "substr(s, n)", "substr(s, 0, 2)",
    "substring(s, -3, 2)", "replace(s, 'a', 'z')", "lpad(s, 5, '*')", "split_part(s, 'b', 1)",
    "string_split(s, 'b')", "str_split(s, 'b')", "strpos(s, 'b')", "instr(s, 'b')",
    "contains(s, 'b')", "prefix(s, 'a')", "suffix(s, 'c')", "starts_with(s, 'a')",
    "s LIKE 'a%'", "s ILIKE 'A%'", "s || '<b>' ILIKE '%<B>'", "'b c' ILIKE '%<b>%'",
    *(f"'x{sign}y' || s ILIKE '%{sign}%'" for sign in "!\"#$&()*+,-./:;<=>?@[]^`{|}~"),
    "s NOT LIKE '%b%'", "s SIMILAR TO 'a.*'",
    "s NOT SIMILAR TO '[a-c]+'", "regexp_matches(s, 'b.')", "regexp_matches(s, '^a.b')",
    r"regexp_matches(s || '\x', '\\')", r"regexp_matches(s || '\x', 'c\\x')",
    r"regexp_matches(s || '\x', '^a\\')", r"regexp_full_match('\', '\\')",
    r"regexp_matches(s || '%_', '%_')", r"regexp_matches(s || '.', 'c\.')",
    "regexp_full_match(s, 'abc')", "regexp_full_match(s, 'a|abc')",
    "regexp_replace(s, '[a-c]', '-', 'g')", "regexp_extract(s, 'b(.)', 1)",
    "regexp_extract(s, 'b.')", "regexp_split_to_array(s, '[b ]+')",
    "string_split_regex(s, '')", "regexp_extract_all(s, '[a-c]+')", "ascii(s)", "concat(s, n, 'x')", "concat_ws('-', s, n)",
    "2 ^ 3", "n ^ 2", "n % 3", "-7 % 3", "mod(n, 3)", "n / 2", "n // 2", "ceiling(x)",
    "atan2(1, 2)", "round(x)", "round(x, 1)", "sign(x)", "log(100)", "log2(8)", "pow(2, n)",
    "greatest(n, 2)", "least(n, x)", "list_contains(l, 2)", "array_length(l)", "list_max(l)",
    "year(d)", "quarter(d)", "month(d)", "day(d)", "hour(d)", "minute(d)", "second(d)",
    "dayofweek(d)", "dayofyear(d)", "week(d)", "epoch(d)", "dayname(d)", "monthname(d)",
    "strftime(d, '%Y-%m')", "last_day(d)", "date_trunc('month', d)", "extract(year FROM d)",
    "CASE WHEN n > 1 THEN 'a' ELSE 'b' END", "if(n > 1, 'a', 'b')", "n BETWEEN 0 AND 5",
    "n IN (1, 2, NULL)", "n NOT IN (1, 2, NULL)", "n IS DISTINCT FROM 1", "round(x)::BIGINT",
    "{'a': n}.a", "{'a': n, 'b': {'c': s}}.b.c", "{'a': n}['a']",
    "$$it's; -- $x {{x}}$$", "$q$a $$ b$q$", "E'a\\nb'", "LENGTH('a\\nb')",
]  # fmt: skip
AGGREGATES = [
    "list(n ORDER BY n)", "group_concat(s, '-' ORDER BY s)", "any_value(n) IS NOT NULL",
    "count_if(n > 0)", "favg(n)", "fsum(n)", "mean(n)", "median(n)", "quantile_cont(n, 0.3)",
    "stddev(n)", "var_pop(x)", "bool_and(n > -5)", "arg_max(s, n)", "min_by(s, n)",
    "count(DISTINCT n)", "sum(n) FILTER (WHERE n > 0)", "count_if(n > 0) FILTER (WHERE x > 0)",
    "first(n ORDER BY n)", "string_agg(s, ',' ORDER BY s)",
]  # fmt: skip


@pytest.mark.parametrize("word", [*SLICES, *WORDS, *AGGREGATES])
def test_a_word_means_what_it_means_in_duckdb(session, duck, word):
    sql = f"SELECT {word} AS v FROM t"
    assert answer(session, sql) == [[told(v) for v in row] for row in duck.execute(sql).fetchall()]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT s.k FROM structs",
        "SELECT structs.s.k FROM structs",
        "SELECT (s).l FROM structs",
        "SELECT s['k'] AS v FROM structs WHERE s.l IS NOT NULL",
        "SELECT s.k AS v, COUNT(*) AS n FROM structs GROUP BY s.k",
        "SELECT n, (SELECT max(s.k) FROM structs) AS m FROM t",
        "SELECT CASE " + "WHEN n > 99 THEN 0 " * 200 + "ELSE 1 END AS v FROM t",
        "SELECT " + "CASE WHEN n > 0 THEN " * 50 + "1" + " ELSE 0 END" * 50 + " AS v FROM t",
        "SELECT n FROM t WHERE " + " OR ".join(f"n = {i}" for i in range(3000)),
        "SELECT n FROM t WHERE " + " AND ".join(f"n <> {i}" for i in range(3, 3003)),
        "SELECT n FROM t WHERE n IN (" + ", ".join(map(str, range(20_000))) + ")",
        "SELECT " + " + ".join(["n"] * 500) + " AS v FROM t",
        "SELECT " + " || ".join(["s"] * 500) + " AS v FROM t WHERE length(s) = 3",
        " UNION ALL ".join(f"SELECT {i} AS v" for i in range(400)),
        "SELECT " + "(" * 400 + "n" + ")" * 400 + " AS v FROM t",
    ],
)
def test_a_statement_of_any_shape(session, duck, sql):
    key = lambda row: [(v is None, str(v)) for v in row]  # noqa: E731
    want = [[told(v) for v in row] for row in duck.execute(sql).fetchall()]
    assert sorted(answer(session, sql), key=key) == sorted(want, key=key)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + " + ".join(["1"] * 3000),
        "SELECT " + " + ".join(["1"] * 300_000),
        "SELECT " + "(" * 50_000 + "1" + ")" * 50_000,
        "SELECT " + "NOT " * 50_000 + "true",
        "SELECT " + "- " * 50_000 + "1",
        "SELECT 1" + "::INT" * 50_000,
        "SELECT " + "CASE WHEN " * 5_000 + "1",
        "SELECT " + "f(" * 50_000,
        "SELECT * FROM " + "(SELECT * FROM " * 5_000 + "t" + ")" * 5_000,
        "SELECT * FROM " + "(" * 50_000 + "t",
        "SELECT CAST(1 AS " + "ARRAY<" * 50_000 + "INT" + ">" * 50_000 + ")",
        "SELECT " + "[" * 50_000 + "]" * 50_000,
        "SELECT " + "INTERVAL " * 100_000 + "1",
        "SELECT CAST(1 AS " + "ARRAY <" * 50_000 + "INT" + ">" * 50_000 + ")",
        "SELECT 1::INT" + "[]" * 50_000,
        "SELECT l" + "[1]" * 50_000 + " FROM t",
        "SELECT 1" + " IS NULL" * 50_000,
        "SELECT 1 FROM t" + " JOIN t USING (n)" * 50_000,
        "SELECT 1 FROM t" + ", t" * 50_000,
        "SELECT " + "{'a': " * 50_000 + "1" + "}" * 50_000,
        " EXCEPT ".join(["SELECT 1"] * 50_000),
        "WITH a AS (" * 5_000 + "SELECT 1" + ") SELECT 1" * 5_000,
        "EXPLAIN " * 50_000 + "SELECT 1",
        "SELECT 1 -- " + "/*" * 100_000 + "\n; /* " + "/* " * 100_000,
    ],
)
def test_what_is_too_deep_gets_a_sentence(session, sql):
    with pytest.raises((SlafError, ValueError)) as caught:
        session.run(sql)
    assert 10 < len(str(caught.value)) < 1_000


def test_columns_of_one_name_get_numbers(session):
    got = pl.DataFrame(session.run("SELECT n AS x, s AS x, x AS x, n + 1 AS y FROM t"))
    assert got.columns == ["x", "x_1", "x_2", "y"]
    got = pl.DataFrame(session.run("SELECT x_1 FROM (SELECT n AS x, s AS x FROM t)"))
    assert got["x_1"].to_list() == VALUES["s"].to_list()


# Values of the notebook ---------------------------------------------------------


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("words") / "made.slaf"
    SLAFConverter().convert_anndata(make_counts(100, 30, seed=4), target)
    return target


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "slaf")
    return shell


def ran(shell, code: str):
    result = shell.run_cell(code)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        raise error
    return pl.DataFrame(result.result)


@pytest.mark.parametrize(
    "code",
    [
        "%%sql -- what it shows; it's $x {{y}}\nSELECT 1 AS a",
        "%%sql --limit 1 -- why\nSELECT 1 AS a UNION ALL SELECT 1",
        "# what it shows\n%%sql\nSELECT 1 AS a",
        "# two\n\n# comments, one of %%sql\n%%sql\nSELECT 1 AS a",
        "%%sql\n-- first; it's\nSELECT /* a; /* b */ $c */ 1 AS a; -- done",
    ],
)
def test_comments_of_a_cell(shell, code):
    assert ran(shell, code).rows() == [(1,)]


def test_comments_before_other_magics_are_left_to_ipython(shell, capsys):
    with pytest.raises((SyntaxError, UsageError)):
        ran(shell, "# c\n%%time\n1")
    capsys.readouterr()


def test_columns_of_pandas_that_arrow_does_not_know(shell):
    shell.user_ns["t"] = pd.DataFrame(
        {
            "a": pd.arrays.SparseArray([0, 0, 3]),
            "b": [1, "x", None],
            "c": [1.5, 2, np.nan],
            "d": [{"k": 1}, [2], "z"],
            "e": pd.Categorical(["u", None, "u"]),
        }
    )
    got = ran(shell, "%sql SELECT a + 1 AS a, b, c, d, e FROM t ORDER BY a, b")
    assert got.rows() == [
        (1, "1", 1.5, "{'k': 1}", "u"),
        (1, "x", 2.0, "[2]", None),
        (4, None, None, "z", "u"),
    ]
    # Those that are not asked for are no obstacle either.
    assert ran(shell, "%sql SELECT SUM(a) AS s FROM t").item() == 3


def test_near_misses_of_names(shell, path):
    shell.user_ns |= {"pbmc": SLAFArray(path), "markers": pl.DataFrame({"g": ["G1"]}), "limit": 5}
    for sql, said in (
        ("SELECT * FROM marker", "There is no table `marker`. Did you mean `markers`"),
        ("SELECT * FROM cels", "There is no table `cels`. Did you mean `cells`"),
        ("SELECT $limt", "There is no variable `limt`. Did you mean `limit`"),
        ("SELECT {{limt}}", "There is no variable `limt`. Did you mean `limit`"),
        ("SELECT * FROM pbmcs.cells", "There is no dataset `pbmcs`. Did you mean `pbmc`"),
    ):
        with pytest.raises(UsageError, match=said.replace("$", r"\$")):
            shell.run_cell_magic("sql", "", sql)


def test_a_view_keeps_the_values_of_its_day(shell):
    shell.user_ns |= {"t": VALUES, "low": 1, "names": ["abc", "o'n"], "many": list(range(500))}
    shell.run_cell_magic("sql", "", "CREATE VIEW v AS SELECT n FROM t WHERE n > {{low}}")
    shell.run_cell_magic("sql", "", "CREATE VIEW w AS SELECT s FROM t WHERE s IN $names")
    shell.user_ns |= {"low": 100, "names": []}
    assert sorted(ran(shell, "%sql SELECT * FROM v")["n"]) == [3, 7, 10]
    assert ran(shell, "%sql SELECT * FROM w").rows() == [("abc",)]
    with pytest.raises(UsageError, match="CREATE TABLE u AS"):
        shell.run_cell_magic("sql", "", "CREATE VIEW u AS SELECT n FROM t WHERE n IN $many")


def matches(shell, code: str) -> list[str]:
    from slaf.notebook.magics import complete

    return [text for text, _ in complete(shell.slaf_sessions, code, len(code))[1]]


def test_columns_are_offered_before_from_is_written(shell, path, tmp_path):
    shell.user_ns |= {"pbmc": SLAFArray(path), "t": VALUES}
    assert "n_genes" in matches(shell, "%%sql\nSELECT n_g")
    assert "t.n" in matches(shell, "# c\n%%sql\nSELECT n")
    # Of several datasets, each with its table.
    SLAFConverter().convert_anndata(make_counts(9, 9, seed=1), tmp_path / "b.slaf")
    shell.user_ns["other"] = SLAFArray(tmp_path / "b.slaf")
    assert "cells.n_genes" in matches(shell, "%%sql\nSELECT n_g")
    assert "n_genes" in matches(shell, "%%sql\nSELECT cells.n_g")


def test_a_lazy_statement_is_asked_as_polars_means_it(shell, capsys):
    shell.user_ns["t"] = pl.DataFrame({"a": range(20), "b": [1, 2] * 10})
    shell.run_cell_magic("sql", "--lazy plan <<", "SELECT a, b FROM t")
    plan, whole = shell.user_ns["plan"], shell.user_ns["t"].lazy()
    for ask in (
        lambda p: p.head(10).filter(pl.col("a") > 2),
        lambda p: p.filter(pl.col("a") > 2).head(3),
        lambda p: p.select(pl.len()),
        lambda p: p.filter(pl.col("b") == 1).select(pl.len()),
        lambda p: p.filter(pl.col("b") == 1).select("a"),
        lambda p: p.with_row_index().filter(pl.col("a") > 5),
        lambda p: p.slice(3, 4).select("b"),
        lambda p: p.group_by("b").agg(pl.col("a").sum()).sort("b"),
    ):
        for engine in ("in-memory", "streaming"):
            assert ask(plan).collect(engine=engine).equals(ask(whole).collect())
