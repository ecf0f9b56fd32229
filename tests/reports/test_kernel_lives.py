"""Events that crash other kernels, and data that they lose at their end."""

from __future__ import annotations

import os

import psutil
import pytest
from kernels import Kernel, eventually, only

BUSY = {
    "idle": "",
    "sleeping": "import time; time.sleep(1000)",
    "computing": "while True: pass",
    "awaiting": "import asyncio; await asyncio.sleep(1000)",
    "in a child": "import subprocess; subprocess.run(['sleep', '1000'])",
}

#: What has to happen when Python ends; each leaves a line in the file `end`.
AT_EXIT = """
import atexit, logging.handlers, tempfile, weakref
def leave(word, end=end):
    with open(end, 'a') as file: file.write(word + '\\n')
atexit.register(leave, 'atexit')
class Thing: pass
thing = Thing(); weakref.finalize(thing, leave, 'finalize')
left_open = open(end + '.open', 'w'); left_open.write('whole')
folder = tempfile.TemporaryDirectory()
open(end + '.folder', 'w').write(folder.name)
"""


@pytest.mark.parametrize("state", BUSY)
def test_nothing_ran_at_exit(fresh, tmp_path, state):
    """ipython/ipykernel#462, ipython/ipython#9061 atexit handlers are lost at a restart"""
    end = tmp_path / "end"
    fresh.run(f"end = {str(end)!r}\n{AT_EXIT}")
    if BUSY[state]:
        fresh.begin(BUSY[state])
    if state == "in a child":
        eventually(psutil.Process(fresh.pid).children)
    fresh.client.stop_channels()
    fresh.manager.shutdown_kernel()
    assert sorted(end.read_text().split()) == ["atexit", "finalize"]
    assert (tmp_path / "end.open").read_text() == "whole"
    assert not os.path.exists((tmp_path / "end.folder").read_text())


def test_an_exit_that_hangs_is_cut_off_and_the_log_says_so(tmp_path, private_ipython):
    with open(tmp_path / "log", "w+") as log:
        kernel = Kernel(log=log)
        kernel.run("import atexit, time; atexit.register(time.sleep, 100)")
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel()
    assert "was cut off" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "code",
    [
        "for t in asyncio.all_tasks(): t.cancel()",
        "asyncio.get_event_loop().stop()",
        "async def g(): asyncio.get_running_loop().stop()\nawait g()",
        "async def g(): raise SystemExit(1)\nt = asyncio.ensure_future(g())",
        "asyncio.get_event_loop().call_soon(exit_quietly)",
    ],
)
def test_user_code_takes_the_loop_down(shared, code):
    """jupyter/notebook#3860 stop the running loop: the kernel dies"""
    shared.run("import asyncio\ndef exit_quietly(): raise SystemExit(2)")
    shared.run(code)
    assert shared.value("6 * 7") == "42"
    assert shared.value("await asyncio.sleep(0.01)\n7 * 7") == "49"


@pytest.mark.parametrize("name", ["random", "queue", "token", "IPython", "copy", "polars"])
def test_a_file_beside_the_notebook_named_like_a_module(tmp_path, private_ipython, name):
    """jupyter-server/jupyter_server#327, ipython/ipykernel#512 the kernel does not start"""
    (tmp_path / f"{name}.py").write_text("print('the file was imported')\n")
    (tmp_path / "mine.py").write_text("here = 5\n")
    kernel = Kernel(cwd=str(tmp_path))
    try:
        assert kernel.value("import mine; mine.here") == "5"
    finally:
        kernel.stop()


def test_print_after_stdout_was_put_back(shared):
    """jupyter/notebook#4064 `sys.stdout = sys.__stdout__`"""
    code = (
        "import sys; keep = sys.stdout; sys.stdout = sys.__stdout__\nprint('put back', flush=True)"
    )
    assert shared.text(code) == "put back\n"
    assert shared.text("print('still', flush=True); sys.stdout = keep") == "still\n"


def test_displays_of_forked_children(shared):
    """tqdm/tqdm#485, ipython/ipython#11049 nothing is seen of children's displays"""
    _, outputs = shared.run(
        "import multiprocessing as mp\nfrom IPython.display import display\n"
        "def work(i): display({'text/plain': f'd{i}', 'image/png': 'x' * 300_000}, raw=True)\n"
        "pool = mp.get_context('fork').Pool(2)\npool.map(work, range(4))"
    )
    shown = [m["content"]["data"] for m in outputs if m["msg_type"] == "display_data"]
    assert sorted(d["text/plain"] for d in shown) == ["d0", "d1", "d2", "d3"]
    assert {len(d["image/png"]) for d in shown} == {300_000}
    # By the same workers, in a later cell.
    _, outputs = shared.run("pool.map(work, [7]); pool.terminate()")
    assert only(outputs, "display_data")["data"]["text/plain"] == "d7"


def test_a_pool_of_an_earlier_cell_prints_in_the_cell_that_runs(shared):
    """ipython/ipykernel#402 joblib's second call prints nowhere"""
    shared.run(
        "import multiprocessing as mp, os\nfrom multiprocessing.pool import ThreadPool\n"
        "def say(i): os.write(1, f'{i}\\n'.encode())\n"
        "pool, threads = mp.get_context('fork').Pool(1), ThreadPool(1)"
    )
    assert shared.text("pool.map(say, [1, 2]); pool.terminate(); pool.join()") == "1\n2\n"
    assert shared.text("threads.map(print, [3, 4]); threads.terminate()") == "3\n4\n"


EVIL = "1 UNION ALL SELECT 99"


@pytest.mark.parametrize(
    ("code", "rows"),
    [
        ("r = %sql SELECT {{evil}} AS v", [EVIL]),
        ("r = %sql SELECT $evil AS v", [EVIL]),
        ("r = %sql SELECT 1 AS v WHERE 'x' = {{evil}}", []),
        ("r = %sql SELECT {{name}} AS v", ["O'Neil"]),
        ("%sql r << SELECT $evil AS v", [EVIL]),
        ("%%sql r <<\nSELECT {{evil}} AS v", [EVIL]),
        ("def f(evil):\n    r = %sql SELECT {{evil}} AS v\n    return r\nr = f(3)", [3]),
    ],
)
def test_values_became_text_of_the_statement(shared, code, rows):
    """ploomber/jupysql#918 variables are pasted into the statement"""
    shared.run(f'import polars as pl\nevil, name = {EVIL!r}, "O\'Neil"')
    shared.run(code)
    assert shared.value("pl.DataFrame(r)['v'].to_list()") == str(rows)


@pytest.mark.parametrize(
    ("code", "rows"),
    [
        ("FROM t", "[(1, 'x')]"),
        ("WITH u AS (FROM t) FROM u", "[(1, 'x')]"),
        ("FROM t SELECT b", "[('x',)]"),
        ("CREATE TABLE IF NOT EXISTS t AS SELECT 5 AS a; FROM t", "[(1, 'x')]"),
        ("CREATE TABLE new AS FROM t; FROM new", "[(1, 'x')]"),
    ],
)
def test_from_alone(shared, code, rows):
    """duckdb users: `FROM t` without SELECT gave rows with no columns"""
    shared.run("import polars as pl\nt = pl.DataFrame({'a': [1], 'b': ['x']})")
    shared.run(f"%%sql r <<\n{code}")
    assert shared.value("r.rows()") == rows
