"""What can be typed into a table, and what its cells and summaries show."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import polars as pl
import pytest
import slaf
from slaf import SlafError
from slaf.sql.session import SqlSession
from slaf.table_view.values import cell
from tables import FRAME, Browser, D, N, T, made, same_as, state_of

# Filters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "typed", "where"),
    [
        ("count", "> 5", '"count" > 5'),
        ("count", ">=5 <  9", '"count" >= 5 AND "count" < 9'),
        ("count", "-3..8", '"count" >= -3 AND "count" <= 8'),
        ("count", "..8", '"count" <= 8'),
        ("count", "7", '"count" IN (7)'),
        ("count", "= 7", '"count" IN (7)'),
        ("count", "== 7", '"count" IN (7)'),
        ("number", "inf", "\"number\" IN (CAST('inf' AS DOUBLE))"),
        ("number", "-inf..0", '"number" >= CAST(\'-inf\' AS DOUBLE) AND "number" <= 0.0'),
        ("count", "null", '"count" IS NULL'),
        ("number", "> 1e3", '"number" > 1000.0 AND NOT isnan("number")'),
        ("number", "0", '"number" BETWEEN -0.0 AND 0.0'),
        ("text", "Cell", "\"text\" ILIKE '%Cell%'"),
        ("text", "50%_\\", r""""text" ILIKE '%50\%\_\\%' ESCAPE '\'"""),
        ("text", "= it's", "\"text\" IN ('it''s')"),
        ("count", "!= 7", '(NOT ("count" IN (7)) OR "count" IS NULL)'),
        ("count", "> 5 != 7 !=8", '"count" > 5 AND (NOT ("count" IN (7, 8)) OR "count" IS NULL)'),
        ("text", "!= it's", "(NOT (\"text\" IN ('it''s')) OR \"text\" IS NULL)"),
        ("flag", "!= true", '(NOT ("flag" IN (TRUE)) OR "flag" IS NULL)'),
        ("text", "/^T/", "regexp_matches(\"text\", '^T')"),
        ("text", "not null", '"text" IS NOT NULL'),
        ("flag", "True", '"flag" IN (TRUE)'),
        ("day", "> 2024-01-09", "\"day\" > DATE '2024-01-09'"),
        ("moment", "<= 2024-01-09 03:04", "\"moment\" <= TIMESTAMP '2024-01-09 03:04:00'"),
        ("count", [1, None], '("count" IN (1) OR "count" IS NULL)'),
        ("count", None, '"count" IS NULL'),
        ("count", np.int64(3), '"count" IN (3)'),
        ("day", D(2024, 1, 9), "\"day\" IN (DATE '2024-01-09')"),
    ],
)
def test_what_is_typed_becomes_sql(name, typed, where):
    table = slaf.table(FRAME)
    table.filter({name: typed})
    assert table.sql == f'SELECT *\nFROM "data"\nWHERE {where}'
    session = SqlSession({"data": FRAME}, lambda on: ([], None))
    assert len(session.run(table.sql)) == table.frame().height
    # What is told to the browser, and typed there again, is the same filter.
    said = Browser(table).page["state"]["filters"][name]
    if said["said"]:
        again = slaf.table(FRAME)
        again.filter({name: said["said"]})
        assert again.sql == table.sql


@pytest.mark.parametrize(
    ("name", "value"), [("count", "7"), ("number", "0.38"), ("text", "T cells"), ("flag", "false")]
)
def test_a_value_left_out_leaves_all_others(name, value):
    """Also missing ones, and NaN."""
    table = slaf.table(FRAME)
    table.filter({name: f"= {value}"})
    kept = table.frame().height
    table.filter({name: f"!= {value}"})
    assert 0 < kept < N and table.frame().height == N - kept
    table.filter({name: {"but": [value], "null": False}})
    assert table.frame()[name].null_count() == 0


def test_columns_are_chosen_from_python():
    browser = Browser(slaf.table(FRAME, columns=["text", "count", "text"]))
    assert browser.page["state"]["shown"] == ["text", "count"]
    browser.table.show("number")
    assert state_of(browser)["shown"] == ["number"]
    assert browser.table.frame().columns == FRAME.columns
    browser.table.show()
    assert state_of(browser)["shown"] == FRAME.columns
    for name in ("cuont", "Text "):
        with pytest.raises(SlafError, match=f"There is no column `{name}`. Did you mean"):
            slaf.table(FRAME, columns=[name])


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        (
            "count",
            "many",
            "`many` is no number: write such as `> 5`, `2..8`, `7`, `!= 7` or `null`.",
        ),
        ("count", "..", "`..` is no number: write such as"),
        ("count", ">", "`>` is no number: write such as"),
        ("day", "> 9 o'clock", "`9 o'clock` is no date: write such as"),
        ("flag", "maybe", "`maybe` is no true or false: write `true`, `false` or `null`."),
        ("text", "/(/", "The pattern between `/` and `/` is no regular expression."),
        ("cuont", "> 5", "There is no column `cuont`. Did you mean `count`?"),
    ],
)
def test_what_is_not_understood_is_a_sentence_and_changes_nothing(name, typed, says):
    table = slaf.table(FRAME)
    table.sort("count")
    before = table.sql
    with pytest.raises(SlafError) as error:
        table.filter({name: typed})
    assert str(error.value).startswith(says)
    browser = Browser(table)
    message = browser.asks(browser.state(filters={name: {"typed": typed}}))
    assert message["type"] == "error" and message["message"].startswith(says)
    assert table.sql == before and len(table.frame()) == N
    assert browser.asks(browser.state(page=1))["type"] == "page"


def test_filters_add_up_and_are_taken_back():
    table = slaf.table(FRAME)
    table.filter(count="> 0")
    table.filter(text="cells", count="> 5")
    assert table.sql.endswith('WHERE "count" > 5 AND "text" ILIKE \'%cells%\'')
    table.filter(text="")
    assert table.sql.endswith('WHERE "count" > 5')
    table.filter()
    assert table.sql == 'SELECT *\nFROM "data"'


def test_zero_is_zero_whatever_its_sign():
    table = slaf.table(pl.DataFrame({"x": [-0.0, 0.0, 1.0, -1.0, None]}))
    for typed, n in [("0", 2), (">= 0", 3), ("> 0", 1), ("<= 0", 3), ("< 0", 1), ("0..1", 3)]:
        table.filter(x=typed)
        assert table.frame().height == n, typed


# Names and values -----------------------------------------------------------------------

NAMES = [
    *("<script>alert(1)</script>", 'q"uote', "it's", "🧬", "\x1b[31mred", "", " ", "a b", "A", "a"),
    *("SELECT", "--x", "/*", "{{x}}", "$p0", "^.*$", "*", "__row", "data", "x\ny", "c\\d"),
]


def test_any_name_is_a_column():
    frame = pl.DataFrame({name: [i, i + 1, None] for i, name in enumerate(NAMES)})
    table = slaf.table(frame)
    browser = Browser(table)
    for i, name in enumerate(NAMES):
        table.sort(name, descending=True)
        table.filter()
        table.filter({name: f">= {i}"})
        same_as(table.frame(), frame[[1, 0]])
        assert f'"{name.replace(chr(34), chr(34) * 2)}" >= {i}' in table.sql
    state = state_of(browser)
    assert state["shown"] == NAMES and list(state["filters"]) == [NAMES[-1]]


def test_values_that_json_does_not_know():
    frame = pl.DataFrame(
        {
            "float": [math.nan, math.inf, -math.inf, None, 0.1, 1e-9],
            "big": [2**63 - 1, -(2**63), 2**53 + 1, 0, 1, None],
            "list": [[1, 2], list(range(1000)), [], None, [None], [3]],
            "struct": [{"a": 1}, {"a": None}, None, {"a": 2}, {"a": 3}, {"a": 4}],
            "bytes": [b"\x00\xff", b"", None, b"x" * 500, b"1", b"2"],
            "text": ["x" * 5000, "\x1b[31m", '"', "🧬", "", None],
        }
    )
    page = Browser(slaf.table(frame)).page
    columns = dict(zip(frame.columns, map(list, zip(*page["rows"], strict=True)), strict=True))
    assert columns["float"] == [["NaN"], ["inf"], ["-inf"], None, "0.1", "1.00000e-09"]
    assert columns["big"] == [str(2**63 - 1), str(-(2**63)), str(2**53 + 1), "0", "1", None]
    assert columns["list"][:5] == [
        "[1, 2]",
        "[0, 1, 2, 3, 4, … 1,000 values]",
        "[]",
        None,
        "[NULL]",
    ]
    assert columns["struct"][:3] == ["{a: 1}", "{a: NULL}", None]
    assert columns["bytes"][:3] == ["0x00ff", "0x", None] and len(columns["bytes"][3]) == 200
    assert len(columns["text"][0]) == 200 and columns["text"][1:] == [
        "\x1b[31m",
        '"',
        "🧬",
        "",
        None,
    ]


def test_many_columns():
    frame = pl.DataFrame({f"c{i}": [i] for i in range(1500)})
    table = slaf.table(frame)
    browser = Browser(table)
    assert (
        browser.page["state"]["shown"] == frame.columns[:50] and len(browser.page["rows"][0]) == 50
    )
    message = browser.asks(browser.state(shown=["c1499", "c3"]))
    assert message["rows"] == [["1499", "3"]]
    message = browser.asks(browser.state(shown=frame.columns))
    assert message["message"] == "100 columns are shown at most, not 1500."
    assert table.frame().width == 1500


def test_floats_show_six_digits():
    shown = [cell(x) for x in (0.0, -4432.076923, 0.1 + 0.2, 123456789.0, 1e9, 100.0)]
    assert shown == ["0", "-4432.08", "0.3", "123456789", "1.00000e+09", "100"]


# Summaries ---------------------------------------------------------------------------


def summaries(browser: Browser, names: list[str]) -> dict:
    return {name: browser.until("summary", name=name)["summary"] for name in names}


def test_summaries_count_all_rows_and_those_that_are_left():
    frame = made(3000)
    table = slaf.table(frame)
    browser = Browser(table)
    found = summaries(browser, frame.columns)
    for name in frame.columns:
        assert found[name]["null"] == [frame[name].null_count()] * 2
    table.filter(count="> 3", flag=True)
    left = frame.filter((pl.col("count") > 3) & pl.col("flag"))
    found = summaries(browser, frame.columns)
    for name in ("number", "small", "count", "big", "day", "moment"):
        edges = [table_value(frame, name, edge) for edge in found[name]["edges"]]
        for at, part in enumerate((frame, left)):
            assert [pair[at] for pair in found[name]["bins"]] == binned(part[name], edges), name
            odd = sum(1 for v in part[name] if isinstance(v, float) and not math.isfinite(v))
            assert found[name]["other"][at] == odd
    for name in ("text", "category", "flag"):
        for at, part in enumerate((frame, left)):
            counted = Counter(cell(v) for v in part[name] if v is not None)
            assert {bar[0]: bar[at + 1] for bar in found[name]["bars"]} == {
                bar[0]: counted[bar[0]] for bar in found[name]["bars"]
            }
            if at and name == "flag":
                assert found[name]["values"] == ["true", "false"]
            shown = sum(bar[at + 1] for bar in found[name]["bars"])
            assert found[name]["other"][at] == sum(counted.values()) - shown


def table_value(frame: pl.DataFrame, name: str, text: str):
    kind = {"day": D.fromisoformat, "moment": T.fromisoformat}.get(name)
    return kind(text) if kind else float(text) if frame[name].dtype.is_float() else int(text)


def binned(column: pl.Series, edges: list) -> list[int]:
    counts = [0] * (len(edges) - 1)
    for value in column:
        if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            counts[min(sum(edge <= value for edge in edges), len(counts)) - 1] += 1
    return counts


def test_a_brushed_bin_leaves_what_it_counts():
    frame = made(3000)
    browser = Browser(slaf.table(frame))
    for name in ("count", "big", "day", "moment"):
        summary = browser.until("summary", name=name)["summary"]
        for at, (n, _) in enumerate(summary["bins"]):
            low, high = summary["edges"][at : at + 2]
            last = at == len(summary["bins"]) - 1
            wanted = {"min": low, ("max" if last else "below"): high}
            assert browser.asks(browser.state(filters={name: wanted}))["count"] == n, (name, at)
        browser.asks(browser.state())
        browser.says({"type": "hello"})


def test_texts_that_differ_are_not_counted_one_by_one():
    table = slaf.table(pl.DataFrame({"id": [f"cell-{i}" for i in range(5000)] + [None]}))
    assert summaries(Browser(table), ["id"])["id"] == {"null": [1, 1]}


def test_a_column_of_nothing_and_of_one_value():
    frame = pl.DataFrame({"none": [None, None], "nan": [math.nan, None], "one": [5.0, 5.0]})
    found = summaries(Browser(slaf.table(frame)), frame.columns)
    assert found["none"]["null"] == [2, 2]
    assert found["nan"]["null"] == [1, 1]
    assert found["one"]["bins"] == [[2, 2]]


def test_the_whole_range_of_integers():
    frame = pl.DataFrame({"x": [-(2**63), 0, 2**63 - 1]})
    bins = summaries(Browser(slaf.table(frame)), ["x"])["x"]["bins"]
    assert [n for n, _ in bins if n] == [1, 1, 1]


def test_a_program_that_ends_while_a_table_reads_ends_well():
    code = "from tables import FRAME, Browser\nimport slaf\nBrowser(slaf.table(FRAME))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
