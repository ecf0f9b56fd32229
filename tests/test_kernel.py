"""The kernel, by real clients: jupyter_client conversations, and others' tests
of what a kernel must do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from queue import Empty

import jupyter_kernel_test as jkt
import psutil
import pytest
from jupyter_client.manager import KernelManager
from kernels import Kernel, fresh, only, private_ipython, shared, stream  # noqa: F401

# Others' tests ------------------------------------------------------------


class TestProtocol(jkt.KernelTests):
    kernel_name = "slaf"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples = ["1", "print('x')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''x", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise Exception"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data = [
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))",
            "mime": "text/html",
        }
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class TestWelcome(jkt.IopubWelcomeTests):
    kernel_name = "slaf"
    support_iopub_welcome = True


# Output -------------------------------------------------------------------


def test_a_cells_messages_come_in_order(shared):
    reply, outputs = shared.run(
        "print('a')\nimport sys\nprint('b', file=sys.stderr)\nprint('c')\n7"
    )
    kinds = [
        (m["msg_type"], m["content"].get("name") or m["content"].get("execution_state"))
        for m in outputs
    ]
    assert kinds == [
        ("status", "busy"),
        ("execute_input", None),
        ("stream", "stdout"),
        ("stream", "stderr"),
        ("stream", "stdout"),
        ("execute_result", None),
        ("status", "idle"),
    ]
    assert only(outputs, "execute_result")["execution_count"] == reply["execution_count"]


def test_a_flood_loses_no_line(shared):
    text = shared.text("for i in range(200_000): print(i)")
    assert text == "".join(f"{i}\n" for i in range(200_000))


def test_one_huge_output_passes(shared):
    assert len(shared.text("print('x' * 20_000_000)")) == 20_000_001


def test_a_thread_writes_to_the_cell_that_runs_and_else_to_its_own(shared):
    first = shared.send(
        "import threading, time\ngo, done = threading.Event(), threading.Event()\n"
        "def late():\n    time.sleep(0.6); print('before'); done.set()\n"
        "    go.wait(); print('meanwhile'); done.set()\n"
        "thread = threading.Thread(target=late); thread.start()"
    )
    shared.reply(first)
    time.sleep(1)
    second = shared.send("go.set(); thread.join(); print('from the second cell')")
    shared.reply(second)
    seen = {first: "", second: ""}
    while True:
        message = shared.client.get_iopub_msg(timeout=10)
        parent = message["parent_header"].get("msg_id")
        if message["msg_type"] == "stream":
            seen[parent] += message["content"]["text"]
        if parent == second and message["content"].get("execution_state") == "idle":
            break
    assert seen == {first: "before\n", second: "meanwhile\nfrom the second cell\n"}


def test_displays_update(shared):
    _, outputs = shared.run(
        "from IPython.display import display\nh = display('one', display_id=True)\nh.update('two')"
    )
    shown, updated = only(outputs, "display_data"), only(outputs, "update_display_data")
    assert shown["transient"] == updated["transient"]
    assert updated["data"]["text/plain"] == "'two'"


def test_a_figure_is_shown(shared):
    _, outputs = shared.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);")
    assert "image/png" in only(outputs, "display_data")["data"]


def test_an_error_names_itself(shared):
    reply, outputs = shared.run("def f():\n    return 1 / 0\nf()")
    error = only(outputs, "error")
    assert (reply["status"], reply["ename"], reply["evalue"]) == (
        "error",
        "ZeroDivisionError",
        "division by zero",
    )
    assert error["traceback"] == reply["traceback"]
    assert any("return" in line for line in error["traceback"])


@pytest.mark.parametrize(
    "code",
    ["def f(:", "raise SystemExit(3)", "exit_not_defined", "%nosuchmagic", "%%nosuchmagic\nx"],
)
def test_the_kernel_survives(shared, code):
    shared.run(code)
    assert shared.value("1 + 1") == "2"


def test_what_is_not_json_still_displays(shared):
    _, outputs = shared.run(
        "from IPython.display import display\n"
        "display({'application/json': {'x': float('nan')}, 'text/plain': 'n'}, raw=True)"
    )
    assert only(outputs, "display_data")["data"]["application/json"] == {"x": None}


# Requests -----------------------------------------------------------------


def test_silent_store_history_and_user_expressions(shared):
    before = shared.value("get_ipython().execution_count")
    reply, outputs = shared.run("silent_x = 5; silent_x", silent=True)
    assert [m["msg_type"] for m in outputs] == ["status", "status"]
    reply, _ = shared.run("pass", user_expressions={"a": "silent_x + 1", "b": "nosuchname"})
    assert reply["user_expressions"]["a"]["data"]["text/plain"] == "6"
    assert reply["user_expressions"]["b"]["ename"] == "NameError"
    assert int(shared.value("get_ipython().execution_count")) == int(before) + 2


def test_cells_after_an_error_are_aborted(shared):
    requests = [
        shared.send(code)
        for code in ("import time; time.sleep(0.5); 1/0", "x_aborted = 1", "x_aborted = 2")
    ]
    statuses = [shared.reply(r)["status"] for r in requests]
    assert statuses == ["error", "aborted", "aborted"]
    for request in requests:
        shared.outputs(request)
    reply, _ = shared.run("x_aborted")
    assert reply["ename"] == "NameError"


def test_and_are_not_if_asked_so(shared):
    requests = [shared.send(code, stop_on_error=False) for code in ("1/0", "2")]
    assert [shared.reply(r)["status"] for r in requests] == ["error", "ok"]
    for request in requests:
        shared.outputs(request)


def test_top_level_await_and_background_tasks(shared):
    assert shared.value("import asyncio\nawait asyncio.sleep(0.01, 'done')") == "'done'"
    shared.run(
        "ticks = []\nasync def tick():\n    while len(ticks) < 3:\n        ticks.append(1); await asyncio.sleep(0.05)\ntask = asyncio.create_task(tick())"
    )
    time.sleep(0.5)
    assert shared.value("len(ticks)") == "3"


def test_input(shared):
    request = shared.send("answer = input('name? '); print('hello', answer)", allow_stdin=True)
    question = shared.client.get_stdin_msg(timeout=20)["content"]
    assert question == {"prompt": "name? ", "password": False}
    shared.client.input("Ada")
    assert shared.reply(request)["status"] == "ok"
    assert stream(shared.outputs(request)) == "hello Ada\n"


def test_input_without_a_front_end_that_answers(shared):
    reply, _ = shared.run("input()", allow_stdin=False)
    assert reply["ename"] == "StdinNotImplementedError"


def test_kernel_info_is_answered_while_a_cell_computes(shared):
    request = shared.send("import time\nend = time.time() + 2\nwhile time.time() < end: pass")
    time.sleep(0.3)
    begun = time.monotonic()
    asked = shared.client.kernel_info()
    info = shared.reply(asked, timeout=1.5)
    assert info["language_info"]["name"] == "python"
    assert time.monotonic() - begun < 1.5
    assert shared.client.hb_channel.is_beating()
    assert shared.reply(request)["status"] == "ok"
    shared.outputs(request)


def test_comms_and_widgets(shared):
    reply, outputs = shared.run("import ipywidgets\nslider = ipywidgets.IntSlider(value=3)\nslider")
    assert reply["status"] == "ok"
    opened = [m["content"] for m in outputs if m["msg_type"] == "comm_open"]
    model = next(c for c in opened if c["data"]["state"].get("_model_name") == "IntSliderModel")
    message = shared.client.session.msg(
        "comm_msg",
        {
            "comm_id": model["comm_id"],
            "data": {"method": "update", "state": {"value": 9}, "buffer_paths": []},
        },
    )
    shared.client.shell_channel.send(message)
    assert shared.value("slider.value") == "9"


def test_attributes_that_libraries_look_for(shared):
    assert shared.value("type(get_ipython()).__name__") == "'ZMQInteractiveShell'"
    assert shared.value("'IPKernelApp' in get_ipython().config") == "True"
    assert (
        shared.value("get_ipython().kernel.get_parent()['header']['msg_type']")
        == "'execute_request'"
    )


# SQL ----------------------------------------------------------------------


@pytest.fixture
def with_pbmc(shared, pbmc_slaf):
    shared.run(f"from slaf.integrations import read_slaf\npbmc = read_slaf({str(pbmc_slaf)!r})")
    return shared


def test_a_sql_cell_shows_a_table(with_pbmc):
    reply, outputs = with_pbmc.run(
        "%%sql\nSELECT louvain, COUNT(*) AS n FROM cells GROUP BY louvain ORDER BY n DESC LIMIT 2"
    )
    data = only(outputs, "execute_result")["data"]
    assert data["text/plain"].startswith(
        "louvain    n\n0        130\n1        123\n2 rows × 2 columns · polars"
    )
    assert "<table>" in data["text/html"]


def test_a_sql_answer_is_a_polars_frame_and_a_frame_is_a_table(with_pbmc):
    with_pbmc.run(
        "%%sql top <<\nSELECT cell_id, n_counts FROM cells ORDER BY n_counts DESC LIMIT 5"
    )
    assert with_pbmc.value("type(top).__module__.split('.')[0], top.shape") == "('polars', (5, 2))"
    with_pbmc.run("%%sql again <<\nSELECT COUNT(*) AS n FROM top JOIN cells USING (cell_id)")
    assert with_pbmc.value("again.item()") == "5"
    assert with_pbmc.value("pbmc[top].shape") == "(5, 765)"


def test_a_slice_is_a_dataset_by_its_name(with_pbmc):
    with_pbmc.run("part = pbmc[[5, 3, 3, 100], ::2]")
    with_pbmc.run(
        "%%sql counted <<\nSELECT (SELECT COUNT(*) FROM part.cells) AS c, (SELECT COUNT(*) FROM part.genes) AS g, COUNT(*) AS n FROM part.expression"
    )
    assert (
        with_pbmc.value("counted.row(0) == (3, 383, pbmc[[5, 3, 100], ::2].X.compute().nnz)")
        == "True"
    )
    with_pbmc.run("del part")


def test_a_sql_cell_completes_and_is_inspected(with_pbmc):
    def asked(kind: str, code: str) -> dict:
        cursor = code.index("|")
        request = getattr(with_pbmc.client, kind)(code.replace("|", ""), cursor)
        reply = with_pbmc.reply(request)
        with_pbmc.outputs(request)
        return reply

    reply = asked("complete", "%%sql\nSELECT 1 FROM cells WHERE louvain = '1|")
    code = "%%sql\nSELECT 1 FROM cells WHERE louvain = '"
    assert reply["cursor_start"] == len(code) and reply["matches"][:2] == ["1'", "10'"]
    assert asked("complete", "%%sql\nSELECT n_cou| FROM cells")["matches"] == ["n_counts"]
    told = asked("inspect", "%%sql\nSELECT lou|vain FROM cells")["data"]["text/plain"]
    assert told.startswith("column louvain of cells: VARCHAR\n  700 rows, 0 missing, 11 distinct")
    assert asked("inspect", "pb|mc")["found"]


def test_wrong_sql_is_one_sentence(with_pbmc):
    reply, outputs = with_pbmc.run("%%sql\nSELECT n_cuonts FROM cells")
    assert reply["status"] == "error"
    assert (
        stream(outputs, "stderr").strip()
        == "UsageError: There is no column `n_cuonts`. Did you mean `n_counts`? "
        "(line 1, column 8)\n  SELECT n_cuonts FROM cells\n         ^"
    )


def test_two_datasets_want_a_prefix(with_pbmc, convert, counts):
    with_pbmc.run(f"other = read_slaf({str(convert(counts))!r})")
    reply, _ = with_pbmc.run("%%sql\nSELECT COUNT(*) FROM cells")
    assert "`pbmc.cells` or `other.cells`" in reply["evalue"]
    _, outputs = with_pbmc.run(
        "%%sql\nSELECT (SELECT COUNT(*) FROM pbmc.cells) AS a, (SELECT COUNT(*) FROM other.cells) AS b"
    )
    assert "700  60" in only(outputs, "execute_result")["data"]["text/plain"]
    _, outputs = with_pbmc.run("%%sql --on other\nSELECT COUNT(*) AS n FROM cells")
    assert "60" in only(outputs, "execute_result")["data"]["text/plain"]
    with_pbmc.run("del other")


def test_the_same_magic_in_a_plain_ipykernel(private_ipython, pbmc_slaf):
    kernel = Kernel("python3")
    try:
        kernel.run(
            f"%load_ext slaf\nfrom slaf import SLAFArray\npbmc = SLAFArray({str(pbmc_slaf)!r})"
        )
        _, outputs = kernel.run("%%sql\nSELECT COUNT(*) AS n FROM cells")
        assert "700" in only(outputs, "execute_result")["data"]["text/plain"]
    finally:
        kernel.stop()


# Interrupt, restart, death ------------------------------------------------

LONG = {
    "busy loop": "while True: pass",
    "sleep": "import time; time.sleep(60)",
    "numpy": "import numpy as np\nwhile True: np.ones(1000).sum()",
    "await": "import asyncio; await asyncio.sleep(60)",
    "await in a busy task": "import asyncio\nwhile True: await asyncio.sleep(0)",
    "sql": "%%sql\nSELECT COUNT(*) FROM expression a CROSS JOIN expression b WHERE a.value * b.value > 3",
    "output": "while True: print('x' * 50)",
    "child": "!sleep 60",
}


@pytest.mark.parametrize("code", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("by", ["message", "signal"])
def test_interrupt(with_pbmc, code, by):
    request = with_pbmc.send(code)
    time.sleep(1.0)
    begun = time.monotonic()
    if by == "message":
        with_pbmc.manager.interrupt_kernel()
    else:
        with_pbmc.manager.provisioner.process.send_signal(signal.SIGINT)
        if "sleep 60" in code and code.startswith("!"):
            os.killpg(with_pbmc.manager.provisioner.pgid, signal.SIGINT)
    reply = with_pbmc.reply(request, timeout=20)
    assert time.monotonic() - begun < 10
    if code.startswith("!"):
        assert reply["status"] in ("ok", "error")
    else:
        assert reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    with_pbmc.outputs(request)
    assert with_pbmc.value("1 + 1") == "2"


def test_two_interrupts_in_a_row(shared):
    request = shared.send("while True: pass")
    time.sleep(0.5)
    shared.manager.interrupt_kernel()
    shared.manager.interrupt_kernel()
    assert shared.reply(request)["status"] == "error"
    shared.outputs(request)
    assert shared.value("1 + 1") == "2"


def test_an_interrupt_between_cells_does_nothing(shared):
    control = shared.client.control_channel
    for _ in range(2):
        control.send(shared.client.session.msg("interrupt_request"))
        assert control.get_msg(timeout=20)["msg_type"] == "interrupt_reply"
    assert shared.value("1 + 1") == "2"


def test_interrupt_while_waiting_for_input(shared):
    request = shared.send("input('never answered')", allow_stdin=True)
    shared.client.get_stdin_msg(timeout=20)
    shared.manager.interrupt_kernel()
    assert shared.reply(request)["ename"] == "KeyboardInterrupt"
    shared.outputs(request)
    assert shared.value("1 + 1") == "2"


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_shutdown_leaves_nobody_behind(fresh, state):
    process = psutil.Process(fresh.manager.provisioner.pid)
    fresh.text("import subprocess; child = subprocess.Popen(['sleep', '300'])")
    children = process.children(recursive=True)
    assert children
    if state == "busy":
        fresh.send("while True: pass")
        time.sleep(0.5)
    fresh.manager.shutdown_kernel()
    gone, alive = psutil.wait_procs([process, *children], timeout=10)
    assert not alive


def test_restart(fresh):
    fresh.run("x_before = 1")
    before = fresh.manager.provisioner.pid
    fresh.client.stop_channels()
    fresh.manager.restart_kernel()
    fresh.connect()
    assert fresh.manager.provisioner.pid != before
    reply, _ = fresh.run("x_before")
    assert reply["ename"] == "NameError"


def test_exit_in_a_cell_ends_the_kernel(fresh):
    process = psutil.Process(fresh.manager.provisioner.pid)
    reply = fresh.reply(fresh.send("exit"))
    assert reply["payload"][0]["source"] == "ask_exit"
    psutil.wait_procs([process], timeout=10)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_message_with_a_wrong_signature_is_ignored(fresh):
    from jupyter_client.session import Session

    good = fresh.client.session
    fresh.client.session = fresh.client.shell_channel.session = Session(key=b"guess")
    fresh.client.execute("x_forged = 1")
    with pytest.raises(Empty):
        fresh.client.get_shell_msg(timeout=1)
    fresh.client.session = fresh.client.shell_channel.session = good
    reply, _ = fresh.run("x_forged")
    assert reply["ename"] == "NameError"


def test_the_kernel_ends_with_the_process_that_started_it():
    script = (
        "import sys, time\n"
        "from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel(kernel_name='slaf')\n"
        "print(manager.provisioner.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    kernel = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs([kernel], timeout=10)
    assert not alive


def test_ipc_instead_of_tcp(tmp_path):
    manager = KernelManager(kernel_name="slaf", transport="ipc", ip=str(tmp_path / "kernel"))
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        outputs = []
        client.execute_interactive("6 * 7", timeout=30, output_hook=outputs.append)
        assert only(outputs, "execute_result")["data"]["text/plain"] == "42"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("content", ["{", json.dumps({"ip": "127.0.0.1"})])
def test_a_wrong_connection_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "connection.json"
    path.write_text(content)
    assert refused(path).startswith("The connection file")


def test_a_connection_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "connection.json"
    assert refused(path).startswith(f"The connection file `{path}` cannot be written: ")


def refused(connection_file) -> str:
    """What the kernel says of a connection file; it must be one line."""
    done = subprocess.run(
        [sys.executable, "-m", "slaf.kernel", "-f", str(connection_file)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr
