"""Text and values that a message cannot hold unchanged, everywhere a front end receives
them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import only
from slaf.kernel.messages.json_text import dumps

HALF = "'a\\udce1.txt'"  # the name of a file that is not UTF-8

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.dates()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text() | st.integers() | st.none() | st.tuples(st.text(), st.integers()), inner
        )
    ),
)


@given(anything)
@settings(max_examples=300, deadline=None)
def test_any_value_is_a_message(value):
    """jupyter/jupyter_client#752 messages that are not JSON compliant"""
    text = dumps({"data": value})
    text.encode()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_values_arrive_as_they_are():
    """jupyter-widgets/ipydatagrid#273"""
    sent = {("a", 1): math.nan, 2: [math.inf, {3}], None: b"xyz", True: {"k": 1}.values()}
    assert json.loads(dumps(sent)) == {
        "('a', 1)": None,
        "2": [None, [3]],
        "null": "eHl6",
        "true": [1],
    }
    held = []
    held.append(held)
    with pytest.raises(ValueError, match="contains itself"):
        dumps(held)


@pytest.mark.parametrize(
    "code",
    [
        f"print({HALF})",
        f"import sys; print({HALF}, file=sys.stderr)",
        f"{HALF}",
        f"raise ValueError({HALF})",
        f"display({{'text/plain': {HALF}}}, raw=True)",
        f"get_ipython().set_next_input({HALF})",
        f"import pandas as pd; pd.DataFrame({{'n': [{HALF}]}})",
        f"from comm import create_comm; create_comm(target_name={HALF}, data={{'d': {HALF}}})",
    ],
)
def test_names_that_are_not_utf8(shared, code):
    """takluyver/bash_kernel#61 kernel hangs when output has invalid unicode"""
    reply, _ = shared.run(code)
    assert reply["status"] == ("error" if code.startswith("raise") else "ok")
    assert shared.value("6 * 7") == "42"


def test_tab_after_such_a_name(shared):
    """jupyter/notebook#2680 such a name hangs the notebook"""
    shared.run(f"d = {{{HALF}: 1}}")
    matches = shared.ask("complete_request", {"code": "d['a", "cursor_pos": 4})["matches"]
    assert matches and shared.value("6 * 7") == "42"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Unsaid", "def __str__(self): raise ValueError('no words')"),
        ("NotText", "def __str__(self): return 5"),
        ("Deep", "def _render_traceback_(self): raise RuntimeError('renders badly')"),
    ],
)
@pytest.mark.parametrize("before", ["", "await __import__('asyncio').sleep(0)\n"])
def test_exceptions_that_cannot_be_said(shared, name, body, before):
    """iiasa/ixmp#208 `__str__` fails; ipython/ipython#6384"""
    shared.run(f"class {name}(Exception):\n    {body}")
    reply, outputs = shared.run(f"{before}raise {name}('a')")
    assert reply["ename"] == only(outputs, "error")["ename"] == name
