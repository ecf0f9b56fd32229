"""For any filters, sort order, page and ticks, a table has the rows that Python finds row
by row."""

from __future__ import annotations

import datetime
import math
import re
import threading

import numpy as np
import polars as pl
import pytest
import slaf
from hypothesis import given, settings
from hypothesis import strategies as st
from slaf.sql.session import SqlSession
from slaf.table_view.newest_request import Latest
from tables import BROWSER, FRAME, ROWS, TABLE, Browser, D, N, T, made, plain, same_as, state_of

# Any state, any answer ------------------------------------------------------------

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


# Selection ---------------------------------------------------------------------------


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
