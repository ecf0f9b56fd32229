"""Python cells are IPython's: debuggers, tracebacks, configuration, and what is kept and
interrupted between cells."""

from __future__ import annotations

import re
import sys
import time
from queue import Empty

import psutil
import pytest
from conftest import make_counts
from kernels import PATIENCE, Kernel, displays, ended, eventually, stream
from slaf import SLAFArray

# Debugging ------------------------------------------------------------------------


def conversation(kernel, request: str, *answers: str) -> dict:
    for answer in answers:
        kernel.question()
        kernel.client.input(answer)
    return kernel.reply(request)


def test_post_mortem(shared):
    shared.run("def broken(x):\n    inner = x + 1\n    return inner / 0\nbroken(1)")
    request = shared.send("%debug", allow_stdin=True)
    reply = conversation(shared, request, "p inner", "up", "p 'caller'", "q")
    assert reply["status"] == "ok"
    said = stream(shared.outputs(request))
    assert "2" in said.split() and "'caller'" in said


def test_set_trace(shared):
    request = shared.send("x = 4\nbreakpoint()\ny = x * 2", allow_stdin=True)
    assert conversation(shared, request, "p x + 38", "c")["status"] == "ok"
    assert "42" in stream(shared.outputs(request))
    assert shared.value("y") == "8"


def test_passwords_are_asked_for_as_such(shared):
    request = shared.send("import getpass; word = getpass.getpass('secret? ')", allow_stdin=True)
    asked = shared.question()
    assert asked == {"prompt": "secret? ", "password": True}
    shared.client.input("open")
    assert shared.reply(request)["status"] == "ok"
    assert shared.value("word") == "'open'"


def test_a_thread_may_ask(shared):
    request = shared.send(
        "import threading\nanswers = []\n"
        "t = threading.Thread(target=lambda: answers.append(input('who? ')))\nt.start(); t.join()",
        allow_stdin=True,
    )
    assert conversation(shared, request, "me")["status"] == "ok"
    assert shared.value("answers") == "['me']"


def test_tracebacks_point_to_cells(shared):
    reply, _ = shared.run("def f(x):\n    return 1 / x\n\nf(0)")
    text = "\n".join(reply["traceback"])
    assert "\x1b[" in text
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert re.search(r"Cell In\[\d+\], line 4", text) and "----> 2     return 1 / x" in text
    assert reply["ename"] == "ZeroDivisionError"


def test_chained_exceptions(shared):
    reply, _ = shared.run(
        "try:\n    1/0\nexcept Exception as e:\n    raise ValueError('outer') from e"
    )
    assert reply["ename"] == "ValueError"
    assert any("ZeroDivisionError" in line for line in reply["traceback"])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_exception_groups(shared):
    reply, _ = shared.run("raise ExceptionGroup('many', [ValueError(1), KeyError(2)])")
    assert (reply["status"], reply["ename"]) == ("error", "ExceptionGroup")


# Between cells -----------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task takes a context since 3.11")
def test_context_variables_last(shared):
    shared.run("import contextvars, asyncio\nv = contextvars.ContextVar('v')\nv.set(1)")
    assert shared.value("v.get()") == "1"
    shared.run("await asyncio.sleep(0)\nv.set(2);")
    assert shared.value("v.get()") == "2"


def test_history_across_sessions(private_ipython):
    first = Kernel()
    first.run("unforgettable = 12345")
    first.manager.shutdown_kernel()
    first.client.stop_channels()
    second = Kernel()
    try:
        content = {"hist_access_type": "search", "pattern": "unforgettable*", "n": 1}
        ((_, _, text),) = second.ask("history_request", content)["history"]
        assert text == "unforgettable = 12345"
    finally:
        second.stop()


def test_configuration_startup_files_and_options(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    profile = tmp_path / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "10-mine.py").write_text("from_startup = 1")
    (profile / "ipython_config.py").write_text(
        "c.InteractiveShell.ast_node_interactivity = 'all'\n"
    )
    (profile / "ipython_kernel_config.py").write_text(
        "c.IPKernelApp.exec_lines = ['from_exec_lines = 2']\nc.IPKernelApp.extensions = ['autoreload']\n"
    )
    kernel = Kernel(extra_arguments=["--InteractiveShell.cache_size=17"])
    try:
        assert kernel.value("from_startup + from_exec_lines") == "3"
        assert kernel.value("get_ipython().cache_size") == "17"
        _, outputs = kernel.run("1\n2")
        assert [d["text/plain"] for d in displays(outputs)] == ["1", "2"]
        assert kernel.value("'autoreload' in get_ipython().magics_manager.magics['line']") == "True"
    finally:
        kernel.stop()


def test_a_broken_startup_file_is_told_and_survived(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    (tmp_path / "profile_default" / "startup").mkdir(parents=True)
    (tmp_path / "profile_default" / "startup" / "bad.py").write_text("1 / 0")
    kernel = Kernel()
    try:
        assert kernel.value("1 + 1") == "2"
    finally:
        kernel.stop()


def test_an_await_that_computes_is_interrupted(shared):
    code = "import asyncio\nawait asyncio.sleep(0)\nprint('begun')\nwhile True: pass"
    request = shared.send(code)
    shared.hear(request, "stream")
    shared.manager.interrupt_kernel()
    assert shared.reply(request)["ename"] == "KeyboardInterrupt"
    shared.outputs(request)
    assert shared.value("1 + 1") == "2"


def test_a_task_that_hangs_between_cells_is_interrupted(shared, tmp_path):
    go = tmp_path / "go"
    first = shared.send(
        "import asyncio, os\nasync def hang():\n    print('hangs')\n    while True: pass\n"
        f"async def soon():\n    while not os.path.exists({str(go)!r}): await asyncio.sleep(0.01)\n"
        "    await hang()\ntask = asyncio.create_task(soon())"
    )
    shared.outputs(first)
    go.touch()
    shared.hear(first, "stream")
    request = shared.send("1 + 1")
    deadline = time.monotonic() + PATIENCE
    while True:
        shared.client.control_channel.send(shared.client.session.msg("interrupt_request"))
        shared.client.get_control_msg(timeout=PATIENCE)
        try:
            assert shared.reply(request, timeout=1)["status"] == "ok"
            break
        except Empty:
            assert time.monotonic() < deadline
    shared.outputs(request)


def test_a_conversion_is_interrupted_and_leaves_nothing(shared, tmp_path):
    source, target = tmp_path / "many.h5ad", tmp_path / "out.slaf"
    make_counts(6000, 100).write_h5ad(source)
    request = shared.send(
        "from slaf.data import SLAFConverter\n"
        f"while True: SLAFConverter().convert({str(source)!r}, {str(target)!r}, overwrite=True)"
    )
    # What the first one imports is not to be interrupted.
    eventually(target.exists)
    eventually((tmp_path / ".out.slaf.partial").exists)
    shared.manager.interrupt_kernel()
    reply = shared.reply(request)
    assert reply["ename"] == "KeyboardInterrupt", "\n".join(reply["traceback"])
    shared.outputs(request)
    assert shared.value("1 + 1") == "2"
    if target.exists():
        assert SLAFArray(target).shape == (6000, 100)


def test_a_child_of_a_shell_cell_is_interrupted(shared):
    request = shared.send("!echo begun; sleep 1061")
    shared.hear(request, "stream")
    shared.manager.interrupt_kernel()
    shared.reply(request)
    shared.outputs(request)
    children = psutil.Process(shared.pid).children(recursive=True)
    assert ended(*(child for child in children if "1061" in " ".join(child.cmdline())))


def test_children_of_other_groups_end_with_the_kernel(private_ipython):
    kernel = Kernel()
    kernel.run(
        "import os, subprocess\nc = subprocess.Popen(['sleep', '301'], preexec_fn=os.setpgrp)"
    )
    child = psutil.Process(int(kernel.value("c.pid")))
    kernel.manager.shutdown_kernel()
    kernel.client.stop_channels()
    assert ended(child)
