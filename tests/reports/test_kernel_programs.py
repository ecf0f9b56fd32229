"""What programs and libraries expect of the process that runs a notebook."""

from __future__ import annotations

import os

import pytest
from kernels import PATIENCE, Kernel, eventually, only, stream

# The namespace as a module ----------------------------------------------------------


def test_the_namespace_is_the_dictionary_of_a_plain_module(shared):
    """uqfoundation/dill#593 the session cannot be saved: `__main__` is no plain module"""
    code = "import sys, types\nm = sys.modules['__main__']\n"
    assert (
        shared.value(f"{code}type(m) is types.ModuleType, vars(m) is globals()") == "(True, True)"
    )


def test_a_session_is_saved_and_loaded_by_dill(private_ipython, tmp_path):
    """uqfoundation/dill#537, #255 dump_session and load_session in a notebook"""
    pytest.importorskip("dill")
    path = str(tmp_path / "session")
    first, second = Kernel(), None
    try:
        first.text("a = [1, 2]\ndef add(x, y): return x + y\nclass K: v = 1\nk = K(); k.w = [3]")
        first.text(f"import dill\ndill.dump_module({path!r})")
        second = Kernel()
        loaded = f"import dill\ndill.load_module({path!r})\n"
        assert second.value(f"{loaded}a, add(2, 2), k.w, type(k) is K") == "([1, 2], 4, [3], True)"
        assert second.value("open.__name__, 6 * 7") == "('open', 42)"
    finally:
        for kernel in filter(None, (first, second)):
            kernel.stop()


def test_the_notebooks_open_is_pickled_as_what_it_is(shared):
    """It says that it is `_io.open`, and dill saves all that its module knows."""
    assert shared.value("import pickle\npickle.loads(pickle.dumps(open)) is open") == "True"


# Libraries look whether they are in a notebook -----------------------------------------


def test_the_configuration_has_the_section_of_ipykernel(shared, by_hand):
    code = "'IPKernelApp' in get_ipython().config"
    assert shared.value(code) == "True"
    client = by_hand("-m", "slaf.kernel")
    reply = client.execute("", user_expressions={"x": code}, reply=True, timeout=PATIENCE)
    assert reply["content"]["user_expressions"]["x"]["data"]["text/plain"] == "True"


def test_the_event_loop_by_its_name_of_tornado(shared):
    shared.run(
        "import asyncio, threading, tornado.ioloop\nloop = get_ipython().kernel.io_loop\n"
        "def called(): seen.append(threading.current_thread() is threading.main_thread())"
    )
    assert shared.value("loop is tornado.ioloop.IOLoop.current()") == "True"
    threaded = "threading.Thread(target=loop.add_callback, args=(called,)).start()"
    code = f"seen = []\nloop.add_callback(called)\n{threaded}\n"
    wait = "while len(seen) < 2: await asyncio.sleep(0.01)\nseen"
    assert shared.value(code + wait) == "[True, True]"


@pytest.mark.parametrize(
    "made",
    [
        "t = threading.Thread(target=print, args=('ran',))",
        "class Mine(threading.Thread):\n    def run(self): print('ran')\nt = Mine()",
        "t = threading.Thread(); t.run = lambda: print('ran')",
    ],
)
def test_a_thread_is_freed_when_nobody_holds_it(shared, made):
    code = (
        f"import gc, threading, weakref\ngc.disable()\n{made}\n"
        "t.start(); t.join(); own = vars(t).get('run'); del own\n"
        "w = weakref.ref(t); del t\nprint(w()); gc.enable()"
    )
    assert shared.text(code).split() == ["ran", "None"]


def test_a_thread_that_cannot_start_is_as_it_was(shared):
    code = (
        "import threading\nt = threading.Thread(target=print)\nt.start(); t.join()\n"
        "try: t.start()\nexcept RuntimeError: print('run' in vars(t))"
    )
    assert shared.text(code).split() == ["False"]


# The time of code that awaits -----------------------------------------------------------

TIMED = """
import asyncio
async def f(v=5):
    await asyncio.sleep(0.01)
    return v
"""


@pytest.mark.parametrize(
    ("cell", "name", "value"),
    [
        ("%%time\nx = await f()", "x", "5"),
        ("%time x = await f(6)", "x", "6"),
        ("x = %time await f(7)", "x", "7"),
        ("%%time\nfor i in range(3):\n    x = await f(i)", "x, i", "(2, 2)"),
        ("%%time\nx = '''\n %time await no\n'''\nawait f();", "x", r"'\n %time await no\n'"),
        ("%%time\n\n# why\n!echo shell\ny = !echo {1 + 1}\nx = await f(y)", "x", "['2']"),
        ("%%time\nx = 8", "x", "8"),
    ],
)
def test_what_timed_code_awaits_is_bound(shared, cell, name, value):
    """ipython/ipython#14157 `%%time` with a top-level await is a syntax error"""
    shared.run(f"{TIMED}\nx = i = None")
    said = shared.text(cell)
    assert said.count("CPU times:") == said.count("Wall time:") == 1, said
    assert shared.value(name) == value


@pytest.mark.parametrize("cell", ["%%time\nx = await f()\nx + 1", "%time await f(6)"])
def test_the_times_come_before_the_value(shared, cell):
    shared.run(TIMED)
    reply, outputs = shared.run(cell)
    kinds = [m["msg_type"] for m in outputs if m["msg_type"] in ("stream", "execute_result")]
    assert reply["status"] == "ok" and kinds == ["stream", "execute_result"]
    assert only(outputs, "execute_result")["data"]["text/plain"] == "6"


def test_each_line_has_its_own_times(shared):
    shared.run(TIMED)
    said = shared.text("a = 1\n%time b = await f()\n%time await f(3)\nprint('b', b)\n%time a + 1")
    words = [line.split(":")[0] for line in said.splitlines()]
    assert words == ["CPU times", "Wall time"] * 2 + ["b 5"] + ["CPU times", "Wall time"]


def test_an_error_in_timed_code_points_to_its_line(shared):
    shared.run(TIMED)
    reply, outputs = shared.run("%%time\nawait f()\n\nraise ValueError('here')")
    assert reply["ename"] == "ValueError" and "Wall time" in stream(outputs)
    assert "line 4" in "".join(reply["traceback"]) or "----> 4" in "".join(reply["traceback"])
    reply, _ = shared.run("%%time\nreturn 3")
    assert reply["ename"] == "SyntaxError"


# A time limit --------------------------------------------------------------------------

SLOW = {
    "sleeps": "import time; time.sleep(1000)",
    "computes": "while True: pass",
    "awaits": "import asyncio; await asyncio.sleep(1000)",
    "tries again": "import time\nwhile True:\n    try: time.sleep(1000)\n    except Exception: pass",
    "waits for a child": "import subprocess; subprocess.run(['sleep', '1000'])",
    "runs a command": "!sleep 1000",
    "asks a command": "!read x",
    "works in Rust": "%sql SELECT COUNT(*) FROM big a, big b WHERE a.x + b.x = -1",
}


@pytest.mark.parametrize("code", SLOW.values(), ids=SLOW.keys())
def test_a_cell_that_takes_too_long_is_ended(shared, code):
    """SpencerPark/IJava#6, jupyter/nbclient#212 a time limit for what runs"""
    shared.run("import polars as pl\nbig = pl.DataFrame({'x': range(300_000)})")
    assert shared.text("%slaf timeout 1") == "Cells may run 1 s.\n"
    try:
        reply, outputs = shared.run(code, allow_stdin=True)
    finally:
        # Which itself may take no longer than that.
        eventually(lambda: shared.run("%slaf timeout off")[0]["status"] == "ok")
    said = "The cell ran longer than 1 s; `%slaf timeout off` lets cells run on."
    assert (reply["ename"], reply["evalue"]) == ("CellTimeout", said)
    assert only(outputs, "error")["ename"] == "CellTimeout"
    assert shared.value("1 + 1") == "2"


def test_a_time_limit_of_a_subshell(shared):
    shell = shared.ask("create_subshell_request", {}, "control")["subshell_id"]
    shared.run("%slaf timeout 0.5")
    try:
        content = {"code": "while True: pass", "silent": False, "allow_stdin": False}
        reply = shared.ask("execute_request", content, subshell_id=shell)
    finally:
        eventually(lambda: shared.run("%slaf timeout off")[0]["status"] == "ok")
    assert reply["ename"] == "CellTimeout"


def test_a_time_limit_is_said_changed_and_refused(shared):
    assert shared.text("%slaf timeout") == "Cells may run as long as they take.\n"
    shared.text("%slaf timeout 90.5")
    shared.text("%reload_ext slaf")
    assert shared.text("%slaf timeout") == "Cells may run 90.5 s.\n"
    shared.text("%slaf timeout off")
    for wrong in ("soon", "-1", "nan", "0"):
        reply, outputs = shared.run(f"%slaf timeout {wrong}")
        assert reply["ename"] == "UsageError"
        assert f"`{wrong}` is not a time limit" in stream(outputs, "stderr")


# Which notebook this is ------------------------------------------------------------------


def test_the_notebooks_path(private_ipython, tmp_path, fresh):
    """jupyterlab/jupyterlab#16282, ipython/ipykernel#227 a notebook does not know its name"""
    reply, _ = fresh.run("import slaf; slaf.notebook_path()")
    assert reply["ename"] == "FileNotFoundError" and "JPY_SESSION_NAME" in reply["evalue"]
    # As VS Code sets it.
    fresh.run("__vsc_ipynb_file__ = '/there/v.ipynb'")
    assert fresh.value("slaf.notebook_path()") == "PosixPath('/there/v.ipynb')"
    path = str(tmp_path / "n.ipynb")
    kernel = Kernel(env=os.environ | {"JPY_SESSION_NAME": path})
    try:
        assert kernel.value("import slaf; slaf.notebook_path()") == f"PosixPath({path!r})"
        # jupyter-server/jupyter_server#1059 it may be a mere id
        uuid = str(tmp_path / "34361149-e3d8-4dbc-9302-0e86431b3e8c")
        reply, _ = kernel.run(
            f"import os; os.environ['JPY_SESSION_NAME'] = {uuid!r}\nslaf.notebook_path()"
        )
        assert reply["ename"] == "FileNotFoundError"
    finally:
        kernel.stop()


# stdout and stderr as files -------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "out.buffer.write('é\\n'.encode())",
        "for b in 'é\\n'.encode(): out.buffer.write(bytes([b]))",
        "out.buffer.raw.write('é\\n'.encode())",
        "import codecs; codecs.getwriter('utf-8')(out.detach()).write('é\\n')",
        "import io; io.TextIOWrapper(out.buffer, 'utf-8', write_through=True).write('é\\n')",
        "out.reconfigure(encoding='utf-8', line_buffering=True); print('é', file=out)",
        "import io, shutil; shutil.copyfileobj(io.BytesIO('é\\n'.encode()), out.buffer)",
    ],
)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_streams_as_scripts_use_them(shared, name, code):
    """ipython/ipykernel#786, psf/black#2516 OutStream has no `buffer`; plexe-ai/plexe#45 no
    `reconfigure`"""
    set_up = f"import gc, sys; out = sys.{name}"
    reply, outputs = shared.run(
        f"{set_up}\nprint('a', file=out)\n{code}\ngc.collect()\nprint('b', file=out)"
    )
    assert reply["status"] == "ok", reply
    assert stream(outputs, name) == "a\né\nb\n"
