"""Cases of ipykernel's own tests that no other test covers, as protocol messages."""

from __future__ import annotations

import ast
import sys
from datetime import datetime, timedelta, timezone

import nbformat
import pytest
from dateutil.parser import parse
from kernels import PATIENCE, only, stream, waits_for

# Replies --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("class Bad:\n    def __repr__(self):\n        1 / 0\nBad()", "error"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()", "ok"),
        ("raise KeyboardInterrupt", "error"),
        ("%%nosuchmagic\n", "error"),
        ("await nosuchname", "error"),
    ],
)
def test_an_error_status_only_where_the_cell_failed(shared, code, status):
    reply, outputs = shared.run(code)
    assert reply["status"] == status
    assert stream(outputs, "stderr") or only(outputs, "error")["traceback"]


def test_execution_counts(shared):
    first, _ = shared.run("x = 1")
    silent, _ = shared.run("x = 2", silent=True)
    second, outputs = shared.run("x = 3")
    assert second["execution_count"] == first["execution_count"] + 1
    assert silent["execution_count"] == first["execution_count"]
    assert only(outputs, "execute_input")["execution_count"] == second["execution_count"]


def test_requests_that_are_no_cells_are_not_aborted(shared, tmp_path):
    go = tmp_path / "go"
    cell = shared.send(waits_for(go) + "raise ValueError")
    asked = [
        shared.request("comm_info_request", {}),
        shared.request("inspect_request", {"code": "print", "cursor_pos": 5}),
    ]
    aborted = shared.send("1")
    # Answered at once, and so after all others were received.
    asked.append(shared.request("kernel_info_request", {}))
    statuses = {}
    while len(statuses) < 5:
        message = shared.client.get_shell_msg(timeout=PATIENCE)
        statuses[message["parent_header"]["msg_id"]] = message["content"]["status"]
        if asked[-1] in statuses:
            go.touch()
    shared.until(aborted, cell, *asked)
    assert [statuses[r] for r in asked] == ["ok"] * 3
    assert (statuses[cell], statuses[aborted]) == ("error", "aborted")


def test_a_hundred_cells_at_once_are_answered_in_order(shared):
    shared.run("a = 0")
    sent = [shared.send("a += 1\na") for _ in range(100)]
    replies = [shared.client.get_shell_msg(timeout=PATIENCE) for _ in sent]
    assert [r["parent_header"]["msg_id"] for r in replies] == sent
    counts = [r["content"]["execution_count"] for r in replies]
    assert counts == list(range(counts[0], counts[0] + 100))
    shared.outputs(sent[-1])
    assert shared.value("a") == "100"


def test_replies_say_when_their_cells_started(shared):
    before = datetime.now(timezone.utc)
    request = shared.send("import time; time.sleep(0.3)")
    reply = shared.client.get_shell_msg(timeout=PATIENCE)
    after = datetime.now(timezone.utc)
    started, stopped = parse(str(reply["metadata"]["started"])), parse(str(reply["header"]["date"]))
    assert before <= started <= stopped - timedelta(seconds=0.3) and stopped <= after
    assert reply["metadata"]["status"] == "ok"
    shared.outputs(request)


def test_only_the_last_next_input_is_kept(shared):
    reply, _ = shared.run("for i in range(3): get_ipython().set_next_input(f'cell {i}')")
    assert [p["text"] for p in reply["payload"] if p["source"] == "set_next_input"] == ["cell 2"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("a = 1", {"status": "complete"}),
        ("import = 7q", {"status": "invalid"}),
        ("a = [1,\n2,", {"status": "incomplete", "indent": ""}),
        ("def f():\n    if x:", {"status": "incomplete", "indent": "        "}),
        ("%%timeit\na\n\n", {"status": "complete"}),
        ("%%sql\nSELECT 1\n\n", {"status": "complete"}),
    ],
)
def test_whether_a_cell_is_complete(shared, code, told):
    assert shared.ask("is_complete_request", {"code": code}) == told


def test_inspection(shared):
    shared.run("a = 5\nip = get_ipython()")

    def told(code: str, detail: int = 0) -> dict:
        content = {"code": code, "cursor_pos": len(code), "detail_level": detail}
        return shared.ask("inspect_request", content)

    text = told("a")["data"]["text/plain"]
    assert "Type:" in text and "Docstring:" in text
    text = told("ip.object_inspect", 1)["data"]["text/plain"]
    assert "Signature:" in text and "Source:" in text
    assert told("does_not_exist") == {"status": "ok", "found": False, "data": {}, "metadata": {}}


def test_a_completion_says_what_it_replaces(shared):
    shared.run("alpha = albert = 5")
    code = "import sys\nb = al"
    reply = shared.ask("complete_request", {"code": code, "cursor_pos": len(code)})
    assert {"alpha", "albert"} <= set(reply["matches"])
    assert (reply["cursor_start"], reply["cursor_end"]) == (len(code) - 2, len(code))


# Where output goes ------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ipykernel can since 7.4")
def test_a_thread_may_choose_its_cell(shared):
    first = shared.send(
        "import threading\nfrom IPython.display import display\n"
        "go, done = threading.Event(), threading.Event()\nhere = get_ipython().get_parent()\n"
        "def work():\n    go.wait()\n    token = get_ipython().set_thread_parent(there)\n"
        "    print('there'); display(1)\n    get_ipython().reset_thread_parent(token)\n"
        "    print('here again'); done.set()\n"
        "threading.Thread(target=work).start()"
    )
    shared.reply(first)
    second = shared.send("there = get_ipython().get_parent()\ngo.set()\ndone.wait()")
    shared.reply(second)
    last = shared.send("pass")
    shared.reply(last)
    found = shared.until(last, first, second)
    # While the second cell runs, it gets what the first one's thread prints.
    assert stream(found[second]) == "there\nhere again\n"
    assert only(found[second], "display_data")["data"]["text/plain"] == "1"


def test_hooks_see_displays_first(shared):
    shared.run(
        "from IPython.display import display\npub = get_ipython().display_pub\n"
        "def alter(m):\n    m['content']['data']['text/plain'] = 'altered'\n    return m\n"
        "def swallow(m): return None"
    )
    _, outputs = shared.run(
        "pub.register_hook(alter); display(1); pub.unregister_hook(alter)\n"
        "pub.register_hook(swallow); display(2); pub.unregister_hook(swallow)\n"
        "display(3)"
    )
    shown = [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "display_data"]
    assert shown == ["altered", "3"]
    _, outputs = shared.run("h = get_ipython().displayhook; h.register_hook(swallow)\n4")
    assert not any(m["msg_type"] == "execute_result" for m in outputs)
    shared.run("h.unregister_hook(swallow);")
    assert shared.value("5") == "5"


def test_processes_of_multiprocessing(shared):
    text = shared.text(
        "import multiprocessing\nfork = multiprocessing.get_context('fork')\n"
        "pool = [fork.Process(target=print, args=('hello', i)) for i in range(5)]\n"
        "[p.start() for p in pool]; [p.join() for p in pool];"
    )
    assert sorted(text.splitlines()) == [f"hello {i}" for i in range(5)]
    assert shared.text("p = fork.Process(target=range, args=(5,)); p.start(); p.join()") == ""
    _, outputs = shared.run("p = fork.Process(target=int, args=('hi',)); p.start(); p.join()")
    assert "ValueError" in stream(outputs, "stderr")


def test_parents_as_libraries_ask_for_them(shared):
    request = shared.send(
        "k = get_ipython().kernel\np = k.get_parent('shell')\n"
        "print(p['header']['msg_id'], p['header']['session'], k._parent_ident['shell'])"
    )
    shared.reply(request)
    msg_id, session, identity = stream(shared.outputs(request)).split()
    assert msg_id == request
    assert ast.literal_eval(identity) == [session.encode()]


def test_a_cell_knows_its_metadata(shared):
    shared.run(
        "infos = []\ndef hear(info): infos.append((info.cell_id, getattr(info, 'cell_meta', None)))\n"
        "get_ipython().events.register('pre_run_cell', hear)"
    )
    message = shared.client.session.msg("execute_request", {"code": "1"})
    message["metadata"] = {"cellId": "abc", "tags": ["mine"]}
    shared.client.shell_channel.send(message)
    shared.outputs(message["header"]["msg_id"])
    shared.run("get_ipython().events.unregister('pre_run_cell', hear)")
    cell_id, metadata = ast.literal_eval(shared.value("infos[0]"))
    assert cell_id == "abc"
    assert metadata in (None, {"cellId": "abc", "tags": ["mine"]})


# The environment of cells -----------------------------------------------------------


def test_modules_beside_the_notebook_are_found(shared):
    assert shared.value("'' in __import__('sys').path") == "True"


def test_figures_without_a_magic(private_ipython, fresh):
    fresh.run("import matplotlib, matplotlib.pyplot")
    assert "inline" in fresh.value("matplotlib.get_backend()")


def test_faulthandler_can_be_used(shared):
    shared.text("import faulthandler, signal\nfaulthandler.enable()")
    assert shared.value("faulthandler.is_enabled()") == "True"


def test_history_to_a_file_and_a_notebook(fresh, tmp_path):
    fresh.run("a = 'gène'")
    fresh.run("import sys\nprint('said')\nprint('warned', file=sys.stderr)\nprint('more')\na")
    fresh.run("1 / 0")
    fresh.run("await __import__('asyncio').sleep(0)")
    fresh.text(f"%hist -f {tmp_path}/history.py")
    text = (tmp_path / "history.py").read_text()
    assert text.startswith("a = 'gène'\nimport sys\nprint('said')")
    reply, _ = fresh.run(f"%notebook {tmp_path}/history.ipynb")
    assert reply["status"] == "ok", reply
    cells = nbformat.read(tmp_path / "history.ipynb", 4).cells
    assert [c.source for c in cells[:3]] == text.split("\n1 / 0")[0].split("\n", 1) + ["1 / 0"]
    if sys.version_info >= (3, 11):  # IPython 9
        kinds = [(o.output_type, o.get("name")) for o in cells[1].outputs]
        assert kinds == [("stream", "stdout"), ("stream", "stderr"), ("execute_result", None)]
        assert cells[1].outputs[0].text == "said\nmore\n"
        assert cells[2].outputs[0].ename == "ZeroDivisionError"


def test_what_is_kept_of_a_flood_is_little(fresh):
    pytest.importorskip("IPython", minversion="9.0")
    fresh.run("for i in range(400_000): print(i)")
    said = fresh.value(
        "text = get_ipython().history_manager.outputs[1][0].bundle['stream'][0]\n"
        "len(text), text.splitlines()[-1]"
    )
    size, last = ast.literal_eval(said)
    assert size < 1.1 * 2**20
    whole = sum(len(f"{i}\n") for i in range(400_000))
    assert last == f"[{whole - (size - len(last) - 2)} more bytes]"


def test_another_event_loop(shared):
    trio = "import trio\nasync def f():\n    await trio.sleep(0.01)\n    return 'from trio'\n"
    shared.run("%autoawait trio")
    try:
        assert shared.value(trio + "await f()") == "'from trio'"
        request = shared.begin("await trio.sleep(1000)")
        shared.manager.interrupt_kernel()
        assert shared.reply(request)["ename"] == "KeyboardInterrupt"
        shared.outputs(request)
    finally:
        shared.run("%autoawait asyncio")
    assert shared.value("import asyncio\nawait asyncio.sleep(0, 'back')") == "'back'"


def test_an_interrupt_shows_the_users_code_alone(shared):
    request = shared.begin("while True: pass")
    shared.manager.interrupt_kernel()
    text = "\n".join(shared.reply(request)["traceback"])
    shared.outputs(request)
    assert "Cell" in text and "slaf" not in text


def test_cells_after_an_interrupted_debugger_run(shared):
    stopped = shared.send("import pdb; pdb.set_trace()", allow_stdin=True)
    after = shared.send("3 + 4", stop_on_error=False)
    shared.question()
    shared.manager.interrupt_kernel()
    assert shared.reply(stopped)["status"] in ("ok", "error")
    assert shared.reply(after)["status"] in ("ok", "aborted")
    shared.until(after, stopped)
    assert shared.value("1 + 1") == "2"


# The control channel ------------------------------------------------------------------


def test_cells_by_the_control_channel_run_beside_the_others_in_order(shared):
    shared.run("import threading, time\ntold = []")
    busy = shared.send("while not told: time.sleep(0.01)")
    last = "told.append(threading.current_thread() is threading.main_thread())"
    sent = [
        shared.request("execute_request", {"code": code, "silent": False}, "control")
        for code in ("time.sleep(0.3); n = 1", "n += 1; print('n is', n)", last)
    ]
    ended = [shared.client.get_control_msg(timeout=PATIENCE) for _ in sent]
    assert [m["parent_header"]["msg_id"] for m in ended] == sent
    assert all(m["content"]["status"] == "ok" for m in ended)
    assert shared.reply(busy)["status"] == "ok"
    assert stream(shared.until(busy, *sent)[sent[1]]) == "n is 2\n"
    assert shared.value("told") == "[False]"
