"""Subshells (JEP 91), and replies while a cell is running."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from kernels import only, stream, waits_for


@pytest.fixture
def subshell(shared):
    reply = shared.ask("create_subshell_request", {}, "control")
    assert reply["status"] == "ok"
    yield reply["subshell_id"]
    shared.ask("delete_subshell_request", {"subshell_id": reply["subshell_id"]}, "control")


def run_in(kernel, subshell: str, code: str) -> tuple[dict, list[dict]]:
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
    request = kernel.request("execute_request", content, subshell_id=subshell)
    return kernel.reply(request), kernel.outputs(request)


@pytest.fixture
def busy(shared, tmp_path):
    """A cell that computes without a pause meanwhile; it must succeed afterwards."""

    @contextmanager
    def busy():
        end = tmp_path / "end"
        request = shared.begin(waits_for(end, pause="sum(range(100_000))"))
        yield
        end.touch()
        assert shared.reply(request)["status"] == "ok"

    return busy


def test_they_are_announced_listed_and_deleted(shared):
    assert "kernel subshells" in shared.ask("kernel_info_request", {})["supported_features"]
    first = shared.ask("create_subshell_request", {}, "control")["subshell_id"]
    assert shared.ask("list_subshell_request", {}, "control")["subshell_id"] == [first]
    content = {"subshell_id": first}
    assert shared.ask("delete_subshell_request", content, "control")["status"] == "ok"
    assert shared.ask("list_subshell_request", {}, "control")["subshell_id"] == []
    reply = shared.ask("delete_subshell_request", content, "control")
    assert reply["status"] == "error" and first in reply["evalue"]
    reply, _ = run_in(shared, first, "1")
    assert reply["evalue"] == f"There is no subshell `{first}`."


def test_a_sql_cell_runs_beside_a_busy_python_cell(shared, subshell, pbmc_slaf, busy):
    shared.run(f"from slaf import SLAFArray\npbmc = SLAFArray({str(pbmc_slaf)!r})")
    with busy():
        reply, outputs = run_in(shared, subshell, "%%sql\nSELECT COUNT(*) AS n FROM cells")
    assert "700" in only(outputs, "execute_result")["data"]["text/plain"]
    assert reply["status"] == "ok"


def test_output_and_names(shared, subshell):
    reply, outputs = run_in(shared, subshell, "inside = 5; print('within'); inside * 2")
    assert stream(outputs) == "within\n"
    assert only(outputs, "execute_result")["data"]["text/plain"] == "10"
    assert shared.value("inside") == "5"
    reply, outputs = run_in(shared, subshell, "1 / 0")
    assert (reply["ename"], only(outputs, "error")["ename"]) == ("ZeroDivisionError",) * 2
    _, outputs = run_in(shared, subshell, "import asyncio; await asyncio.sleep(0.01, 'awaited')")
    assert only(outputs, "execute_result")["data"]["text/plain"] == "'awaited'"
    _, outputs = run_in(shared, subshell, "%subshell")
    assert f"subshell id: {subshell}" in stream(outputs)


@pytest.mark.parametrize(
    "code",
    [
        "print('begun')\nwhile True: pass",
        "import asyncio; print('begun'); await asyncio.sleep(1000)",
        "%%sql\nSELECT COUNT(*) FROM expression a CROSS JOIN expression b "
        "WHERE a.value * b.value > {{print('begun') or 3}}",
    ],
    ids=["computes", "awaits", "works in Rust"],
)
def test_an_interrupt_reaches_a_subshell_if_no_other_cell_runs(shared, subshell, pbmc_slaf, code):
    shared.run(f"from slaf import SLAFArray\npbmc = SLAFArray({str(pbmc_slaf)!r})")
    content = {"code": code, "silent": False, "allow_stdin": False}
    request = shared.request("execute_request", content, subshell_id=subshell)
    shared.hear(request, "stream")
    shared.ask("interrupt_request", {}, "control")
    assert shared.reply(request)["ename"] in ("KeyboardInterrupt", "CancelledError")
    shared.outputs(request)
    _, outputs = run_in(shared, subshell, "1 + 1")
    assert only(outputs, "execute_result")["data"]["text/plain"] == "2"


def test_an_interrupt_at_the_end_of_a_subshells_cell_takes_no_reply(shared, subshell):
    """However near the end it strikes."""
    for wait in range(12):
        content = {"code": "x = sum(range(3_000_000))", "silent": False, "allow_stdin": False}
        request = shared.request("execute_request", content, subshell_id=subshell)
        time.sleep(wait / 100)
        shared.request("interrupt_request", {}, "control")
        reply = shared.reply(request)
        assert reply["status"] == "ok" or reply["ename"] in ("KeyboardInterrupt", "CancelledError")
        shared.outputs(request)
    _, outputs = run_in(shared, subshell, "1 + 1")
    assert only(outputs, "execute_result")["data"]["text/plain"] == "2"


def test_comms_of_a_subshell_are_the_main_threads(shared, subshell):
    shared.run(
        "import comm, threading\nthreads = []\n"
        "c = comm.create_comm(target_name='t')\n"
        "c.on_msg(lambda m: threads.append(threading.current_thread() is threading.main_thread()))"
    )
    content = {"comm_id": shared.value("c.comm_id").strip("'"), "data": {}}
    request = shared.request("comm_msg", content, subshell_id=subshell)
    shared.outputs(request)
    assert shared.value("threads") == "[True]"


def test_comms_are_answered_while_a_cell_awaits(shared):
    shared.run(
        "import asyncio, comm\nheard = asyncio.Event()\n"
        "c = comm.create_comm(target_name='t')\n"
        "c.on_msg(lambda m: (print('heard', m['content']['data']), heard.set()))"
    )
    comm_id = shared.value("c.comm_id").strip("'")
    cell = shared.begin("await heard.wait(); print('went on')")
    message = shared.request("comm_msg", {"comm_id": comm_id, "data": {"x": 1}})
    assert shared.reply(cell)["status"] == "ok"
    found = shared.until(cell, message)
    assert stream(found[message]) == "heard {'x': 1}\n"
    assert stream(found[cell]) == "went on\n"


def test_questions_are_answered_while_a_cell_computes(shared, busy):
    shared.run("a_rather_long_name = {'key': 1}")
    with busy():
        completed = shared.ask("complete_request", {"code": "a_rather_l", "cursor_pos": 10})
        inspected = shared.ask("inspect_request", {"code": "a_rather_long_name", "cursor_pos": 3})
        whole = shared.ask("is_complete_request", {"code": "for x in y:"})
        past = shared.ask("history_request", {"hist_access_type": "tail", "n": 1})
        usage = shared.ask("usage_request", {}, "control")
    assert completed["matches"] == ["a_rather_long_name"]
    assert inspected["found"] and "dict" in inspected["data"]["text/plain"]
    assert whole["status"] == "incomplete" and len(past["history"]) == 1
    assert usage["kernel_memory"] > 1 << 20 and usage["host_virtual_memory"]["total"] > 1 << 30


def test_questions_by_the_control_channel(shared):
    content = {"code": "zi", "cursor_pos": 2}
    assert shared.ask("complete_request", content, "control")["matches"] == ["zip"]
    reply = shared.ask("no_such_request", {}, "control")
    assert reply["status"] == "error" and "no_such_request" in reply["evalue"]


def test_connect_request(shared):
    told, connection = shared.ask("connect_request", {}), shared.connection
    for channel in ("shell", "iopub", "stdin", "control", "hb"):
        assert told[f"{channel}_port"] == connection[f"{channel}_port"]
