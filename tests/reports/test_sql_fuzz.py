"""No statement ends the process, panics, or is left without an answer.

`SQL_STATEMENTS=100000` runs more statements than the suite does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STATEMENTS = int(os.environ.get("SQL_STATEMENTS", 600))
#: Of one process.
ROUND = 300
#: Seconds after which a statement counts as hung.
LONG = 60

CHILD = """
import faulthandler, sys, warnings
import polars as pl
from slaf.sql.session import SqlSession
from sql_grammar import Grammar

warnings.simplefilter("ignore")
sys.setrecursionlimit(50_000)
t = pl.DataFrame({"a": [1, 2, None], "k": [1, 1, 3], "s": ["x", None, "z"], "l": [[1], [], None]})
u = pl.DataFrame({"k": [1, None, 4], "x": [0.5, float("nan"), None], "b": [True, False, None]})
session = SqlSession({"t": t, "u": u}, lambda on: ([], None))
ran = 0
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    sql = Grammar(seed).statement()
    print(seed, flush=True)
    faulthandler.dump_traceback_later(int(sys.argv[3]), exit=True)
    try:
        session.run(sql, limit=1000, memory=200 << 20)
        ran += 1
    except (ValueError, OSError) as error:
        said = str(error)
        assert "panick" not in said.lower() and "Internal error" not in said, said
        assert said.strip() and len(said) < 5000, said
    faulthandler.cancel_dump_traceback_later()
print("ran", ran, flush=True)
"""


@pytest.mark.parametrize("start", range(0, STATEMENTS, ROUND))
def test_a_random_statement_is_answered(start):
    begin = 1_000_000 + start
    end = begin + min(ROUND, STATEMENTS - start)
    command = [sys.executable, "-c", CHILD, str(begin), str(end), str(LONG)]
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    child = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    lines = child.stdout.split("\n")
    assert child.returncode == 0, f"seed {lines[-2]}: {child.stderr[-1500:]}"
    # Enough of them are questions, and not complaints of the parser alone.
    assert int(lines[-2].split()[1]) > (end - begin) // 50
