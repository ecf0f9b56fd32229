"""What a table says to the engine, and what the engine answers: against the same done
row by row in Python."""

from __future__ import annotations

import datetime
import json
import math
import queue
import re
import threading
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import slaf
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from slaf import SlafError, read_slaf
from slaf.sql.session import SqlSession
from slaf.table_view.latest import Latest
from slaf.table_view.values import cell

D, T = datetime.date, datetime.datetime


def made(n: int, seed: int = 0) -> pl.DataFrame:
    """Columns of every kind that can be filtered, with missing values."""
    rng = np.random.default_rng(seed)
    some = lambda values: [None if rng.random() < 0.15 else v for v in values]  # noqa: E731
    numbers = [float(x) for x in rng.normal(0, 3, n).round(2)]
    numbers = [
        x if rng.random() > 0.2 else rng.choice([math.nan, math.inf, -math.inf]) for x in numbers
    ]
    days = [D(2024, 1, 1) + datetime.timedelta(int(d)) for d in rng.integers(0, 40, n)]
    texts = ["T cells", "B cells", "NK", "it's", "50%_\\", "🧬 Zelle", "", "<b>"]
    return pl.DataFrame(
        {
            "number": pl.Series(some(numbers), dtype=pl.Float64),
            "small": pl.Series(some(numbers), dtype=pl.Float32),
            "count": pl.Series(some(rng.integers(-5, 20, n).tolist()), dtype=pl.Int32),
            "big": pl.Series(some((rng.integers(0, 9, n) + 2**60).tolist()), dtype=pl.Int64),
            "text": pl.Series(some(rng.choice(texts, n).tolist()), dtype=pl.String),
            "category": pl.Series(some(rng.choice(texts, n).tolist()), dtype=pl.Categorical),
            "flag": pl.Series(some((rng.random(n) < 0.5).tolist()), dtype=pl.Boolean),
            "day": pl.Series(some(days), dtype=pl.Date),
            "moment": pl.Series(some([T(d.year, d.month, d.day, 3, 4) for d in days])),
        }
    )


# Any state, any answer ------------------------------------------------------------

N = 60
FRAME = made(N)
ROWS = FRAME.rows(named=True)
KINDS = {
    "number": st.floats(-5, 5).map(lambda x: round(x, 2)),
    "small": st.floats(-5, 5).map(lambda x: round(x, 2)),
    "count": st.integers(-6, 21),
    "big": st.integers(2**60, 2**60 + 9),
    "day": st.integers(0, 40).map(lambda d: D(2024, 1, 1) + datetime.timedelta(d)),
    "moment": st.integers(0, 40).map(lambda d: T(2024, 1, 1) + datetime.timedelta(d, 60)),
}
TEXTS = st.sampled_from(["T cells", "b CELLS", "NK", "it's", "%", "\\", "_", "🧬", "<b>", "none"])


@st.composite
def a_filter(draw):
    name = draw(st.sampled_from(FRAME.columns))
    which = draw(st.integers(0, 3))
    null = draw(st.sampled_from([None, True, False]))
    if which == 0:
        return name, {"null": draw(st.booleans())}
    if name in KINDS:
        ends = st.sampled_from(["min", "above", "max", "below"])
        if which == 1:
            return name, {"values": draw(st.lists(KINDS[name], max_size=3)), "null": null}
        return name, draw(st.dictionaries(ends, KINDS[name], min_size=1, max_size=3)) | {
            "null": null
        }
    if name == "flag":
        return name, {"values": draw(st.lists(st.booleans(), min_size=1, max_size=2)), "null": null}
    if which == 1:
        return name, {"values": draw(st.lists(TEXTS, max_size=3)), "null": null}
    if which == 2:
        return name, {"pattern": re.escape(draw(TEXTS)), "null": null}
    return name, {"text": draw(TEXTS), "null": null}


def keeps(value, dtype, wanted: dict) -> bool:
    """Whether a filter leaves a value, as one would say it in Python."""
    null = wanted.get("null")
    if value is None:
        only_null = null is True and set(wanted) == {"null"}
        return null is True and (only_null or "values" in wanted)
    as_stored = (lambda x: float(np.float32(x))) if dtype == pl.Float32 else (lambda x: x)
    tests = {
        "min": lambda end: value >= as_stored(end),
        "above": lambda end: value > as_stored(end),
        "max": lambda end: value <= as_stored(end),
        "below": lambda end: value < as_stored(end),
        "values": lambda values: value in [as_stored(v) for v in values],
        "text": lambda part: part.lower() in value.lower(),
        "pattern": lambda pattern: re.search(pattern, value) is not None,
    }
    found = {key: tests[key](end) for key, end in wanted.items() if key != "null"}
    return all(found.values()) and (null is not True or "values" in wanted)


def ordered(rows: list[int], order: list[tuple[str, bool]]) -> list[int]:
    """Missing values last, NaN after all numbers, equal rows as they were."""
    for name, down in reversed(order):
        there = [i for i in rows if ROWS[i][name] is not None]
        missing = [i for i in rows if ROWS[i][name] is None]

        def key(i, name=name):
            value = ROWS[i][name]
            if isinstance(value, float):
                return math.isnan(value), 0.0 if math.isnan(value) else value
            return value.encode() if isinstance(value, str) else value

        rows = [*sorted(there, key=key, reverse=down), *missing]
    return rows


@settings(max_examples=120, deadline=None)
@given(
    st.lists(a_filter(), max_size=3),
    st.lists(
        st.tuples(st.sampled_from(FRAME.columns), st.booleans()),
        max_size=2,
        unique_by=lambda k: k[0],
    ),
    st.integers(0, 8),
    st.sampled_from([1, 7, 50]),
)
def test_any_state(filters, order, page, size):
    table = TABLE
    filters = dict(filters)
    told = {name: {k: v for k, v in f.items() if v is not None} for name, f in filters.items()}
    state = {"filters": told, "order": order, "page": page, "size": size, "shown": ["text"]}
    left = [
        i for i in range(N) if all(keeps(ROWS[i][n], FRAME[n].dtype, f) for n, f in told.items())
    ]
    left = ordered(left, order)

    message = BROWSER.asks(state)
    last = max((len(left) - 1) // size, 0)
    begin = min(page, last) * size
    assert message["count"] == len(left)
    assert message["state"]["page"] == min(page, last)
    assert message["keys"] == left[begin : begin + size]
    shown = [ROWS[i]["text"] for i in left[begin : begin + size]]
    assert [row[0] for row in message["rows"]] == shown

    same_as(table.frame(), FRAME[left])
    # What one copies says the same, but for the order of rows that compare equal.
    session = SqlSession({"data": FRAME}, lambda on: ([], None))
    pasted = pl.DataFrame(session.run(table.sql))
    assert sorted(map(repr, pasted.rows())) == sorted(map(repr, plain(FRAME[left]).rows()))
    for name, _ in order[:1]:
        assert list(map(repr, plain(pasted)[name])) == list(map(repr, plain(FRAME[left])[name]))


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


def same_as(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert_frame_equal(plain(found), plain(expected))


class Browser:
    """What a front end says and hears, without one."""

    def __init__(self, table):
        self.table, self.heard, self.ask = table, queue.Queue(), 0
        # Without a kernel nobody listens.
        table.comm.send = lambda data, *_, **__: self.heard.put(
            json.loads(json.dumps(data["content"], allow_nan=False))
        )
        self.says({"type": "hello"})
        self.page = self.until("page")

    def says(self, content: dict) -> None:
        data = {"method": "custom", "content": {"view": "here", "ask": self.ask, **content}}
        self.table.comm.handle_msg({"content": {"data": data}, "buffers": []})

    def until(self, *kinds: str, name: str | None = None, asked: int | None = None) -> dict:
        while True:
            message = self.heard.get(timeout=60)
            same = (name in (None, message.get("name"))) and asked in (None, message.get("ask"))
            if message["type"] in kinds and same:
                return message

    def asks(self, state: dict) -> dict:
        self.ask += 1
        self.says({"type": "state", "state": json.loads(json.dumps(state, default=str))})
        return self.until("page", "error", asked=self.ask)

    def state(self, **change) -> dict:
        return {**self.page["state"], "filters": {}, **change}


TABLE = slaf.table(FRAME)
BROWSER = Browser(TABLE)


# Pages -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(), ("count",), ("text", "number")])
@pytest.mark.parametrize("filters", [{}, {"count": "> 0"}])
def test_pages_near_and_far_are_those_of_the_frame(order, filters):
    frame = made(5000)
    table = slaf.table(frame)
    browser = Browser(table)
    table.sort(*order, descending=True)
    table.filter(filters) if filters else None
    expected = table.frame().rows()
    browser.page = browser.until("page")
    last = (len(expected) - 1) // 50
    for page in (0, 1, last // 2, last // 2 + 1, last - 1, last):
        state = {**state_of(browser), "page": page}
        message = browser.asks(state)
        rows = [frame.row(key) for key in message["keys"]]
        assert list(map(repr, rows)) == list(map(repr, expected[page * 50 : page * 50 + 50]))


def state_of(browser: Browser) -> dict:
    """The state on screen, for a view that is opened now."""
    browser.ask += 1
    browser.says({"type": "hello"})
    return browser.until("page", asked=browser.ask)["state"]


def test_a_page_after_the_last_is_the_last():
    message = Browser(slaf.table(FRAME)).asks(BROWSER.state(page=99, size=50))
    assert (message["state"]["page"], len(message["keys"])) == (1, 10)


def test_tables_without_rows_and_without_columns():
    for frame in (FRAME.head(0), pl.DataFrame(), pl.DataFrame({"x": []})):
        table = slaf.table(frame)
        browser = Browser(table)
        assert (browser.page["count"], browser.page["rows"]) == (0, [])
        assert table.frame().shape == frame.shape and table.selection.shape == frame.shape
        assert "text/html" in table._repr_mimebundle_()[0]


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
    ("name", "typed", "says"),
    [
        ("count", "many", "`many` is no number: write such as `> 5`, `2..8`, `7` or `null`."),
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


# Sources -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "of",
    [
        lambda f: f,
        lambda f: f.lazy(),
        lambda f: f.to_arrow(),
        lambda f: f.to_pandas(),
        lambda f: SqlSession({"f": f}, lambda on: ([], None)).run("SELECT * FROM f"),
    ],
    ids=["polars", "lazy", "pyarrow", "pandas", "answer"],
)
def test_anything_that_is_a_table(of):
    frame = made(500).select("count", "text", "flag", "day")
    table = slaf.table(of(frame))
    table.filter(count="> 3", text="cells")
    table.sort("text", descending=True)
    left = frame.filter((pl.col("count") > 3) & pl.col("text").str.contains("cells"))
    found = table.frame()
    assert found["text"].to_list() == sorted(left["text"], reverse=True)
    assert sorted(map(repr, found["count"])) == sorted(
        map(repr, left["count"].cast(found["count"].dtype))
    )


def test_what_is_no_table():
    with pytest.raises(SlafError, match=r"`slaf.table` takes .*, not `int`\."):
        slaf.table(3)


def test_obs_is_read_where_it_lies(pbmc_slaf, pbmc):
    handle = read_slaf(pbmc_slaf)
    table = slaf.table(handle.obs)
    assert 'FROM "obs"' in table.sql and '"louvain"' in table.sql
    table.filter(n_genes="> 1000", louvain=["1", "2"])
    expected = pbmc.obs[(pbmc.obs.n_genes > 1000) & pbmc.obs.louvain.isin(["1", "2"])]
    assert table.frame()["cell_id"].to_list() == expected.index.tolist()
    assert slaf.table(handle.var).frame()["gene_id"].to_list() == pbmc.var_names.tolist()


@pytest.mark.parametrize(
    "part",
    [slice(50, 300), slice(None, None, 3), slice(None, None, -1), [5, 3, 3], np.arange(0, 700, 7)],
    ids=["range", "steps", "backwards", "again", "some"],
)
def test_obs_of_a_sliced_handle(part, pbmc_slaf, pbmc):
    view = read_slaf(pbmc_slaf)[part, :]
    table = slaf.table(view.obs)
    expected = pbmc.obs.iloc[part]
    assert table.frame()["cell_id"].to_list() == expected.index.tolist()
    browser = Browser(table)
    assert browser.page["count"] == len(expected)
    assert [row[0] for row in browser.page["rows"]] == expected.index[:50].tolist()
    table.filter(n_genes="> 1000")
    assert table.frame()["cell_id"].to_list() == expected.index[expected.n_genes > 1000].tolist()


def test_obs_with_what_is_not_saved(pbmc_slaf):
    handle = read_slaf(pbmc_slaf)
    handle.obs["mine"] = np.arange(len(handle.obs))
    handle.obs["n_genes"] = 7
    table = slaf.table(handle.obs)
    table.filter(mine="10..12", n_genes=7)
    assert table.frame()["mine"].to_list() == [10, 11, 12]
    assert table.frame()["cell_id"].to_list() == handle.obs_names[10:13].tolist()


def test_a_statement_is_asked_from():
    answer = SqlSession({"f": FRAME}, lambda on: ([], None)).run("SELECT text, count FROM f")
    table = slaf.table(answer, statement="SELECT text, count FROM f;")
    table.filter(count="> 3")
    assert table.sql == (
        'SELECT *\nFROM (SELECT text, count FROM f\n) AS "answer"\nWHERE "count" > 3'
    )
    again = SqlSession({"f": FRAME}, lambda on: ([], None)).run(table.sql)
    same_as(pl.DataFrame(again), table.frame())


# Selection, display, what is slow ----------------------------------------------------


def test_ticked_rows_are_the_selection():
    table = slaf.table(FRAME)
    browser = Browser(table)
    assert table.selection.height == 0 and table.selection.columns == FRAME.columns
    browser.says({"type": "tick", "rows": [1, 5, 40], "on": True})
    browser.says({"type": "tick", "rows": [5], "on": False})
    assert browser.until("ticked")["count"] == 3 and browser.until("ticked")["count"] == 2
    same_as(table.selection, FRAME[[1, 40]])
    table.filter(count="> 1000")
    table.sort("number")
    same_as(table.selection, FRAME[ordered([1, 40], [("number", False)])])
    page = browser.asks({**BROWSER.state(), "shown": ["text"]})
    assert [key for key, on in zip(page["keys"], page["ticks"], strict=True) if on] == [1, 40]


def test_a_saved_notebook_shows_the_first_rows():
    frame = pl.DataFrame({"<script>": ["<b>bold</b>"] * 50, "n": range(50)})
    data, _ = slaf.table(frame)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    html = data["text/html"]
    assert "The first 20 of 50 rows" in html and "&lt;b&gt;bold" in html
    assert "<script>" not in html and "<b>" not in html
    assert "The first 20 of 50 rows" in data["text/plain"]


def test_the_newest_state_wins():
    begun, done, first, gate = [], [], threading.Event(), threading.Event()

    def work(what, go_on):
        begun.append(what)
        first.set()
        gate.wait(60)
        go_on()
        done.append(what)

    latest = Latest(work)
    latest.ask(0)
    assert first.wait(60)
    for what in (1, 2, 3, 4):
        latest.ask(what)
    gate.set()
    assert latest.wait(60)
    # The first ran when the others came, and gave up; of the others only the last ran.
    assert (begun, done) == ([0, 4], [4])


def test_a_source_that_fails_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "x.parquet"
    FRAME.write_parquet(path)
    table = slaf.table(pl.scan_parquet(path))
    browser = Browser(table)
    path.unlink()
    message = browser.asks(browser.state(filters={"count": {"typed": "> 4"}}))
    assert message["type"] == "error" and "\n" not in message["message"]


def test_pandas_with_an_index_that_says_something():
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "b"], name="cell"))
    assert sorted(slaf.table(frame).frame().columns) == ["cell", "x"]
    assert slaf.table(pa.table({"x": [1]})).frame()["x"].to_list() == [1]
