"""What a notebook shows of an error."""

from __future__ import annotations

import re

import pytest
from kernels import only


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("a = 1\npbmc[:, ['nosuch']]", "Values ['nosuch'] are not valid var names"),
        ("a = 1\nread_slaf('/nofile.slaf')", "There is nothing at `/nofile.slaf`."),
        ("a = 1\npbmc.obs.louvian", "obs has no column 'louvian'. Did you mean `louvain`?"),
        (
            "a = 1\npbmc.slaf.query('SELECT x FROM cellz')",
            "Did you mean `cells`",
        ),
    ],
)
def test_an_error_of_ours_ends_at_the_line_of_the_cell(with_pbmc, code, says):
    reply, outputs = with_pbmc.run(f"import slaf\n{code}")
    text = "\n".join(only(outputs, "error")["traceback"])
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert (
        says in plain and f"----> 3 {code.splitlines()[1]}" in plain and plain.count("File ") == 0
    )


def test_all_frames_of_an_error_of_ours_are_there_for_who_wants_them(with_pbmc):
    code = "pbmc[:, ['nosuch']]"
    with_pbmc.run("%xmode Verbose")
    whole, _ = with_pbmc.run(code)
    with_pbmc.run("%xmode Context")
    short, _ = with_pbmc.run(code)
    deepest = "import sys, traceback\ntraceback.extract_tb(sys.last_traceback)[-1].filename"
    assert "axes.py" in "".join(whole["traceback"]) and "axes.py" in with_pbmc.value(deepest)
    assert "axes.py" not in "".join(short["traceback"])


def test_a_mistake_of_ours_shows_where_it_is(with_pbmc):
    reply, _ = with_pbmc.run("from slaf.ground.sizes import size\nsize('no number')")
    assert reply["ename"] == "TypeError" and "sizes.py" in "".join(reply["traceback"])
