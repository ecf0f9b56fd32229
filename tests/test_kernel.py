"""A kernel's messages as clients see them: output, requests, input, and the cases of other
projects' kernel tests."""

from __future__ import annotations

import jupyter_kernel_test as jkt
import pytest
from kernels import PATIENCE, eventually, only, stream, waits_for

# Others' tests ------------------------------------------------------------

# They wait 15 seconds for an answer; a busy machine may take longer.
jkt.TIMEOUT = PATIENCE


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

    def execute_helper(self, code, timeout=PATIENCE, **options):
        return super().execute_helper(code, timeout, **options)


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


def test_a_thread_writes_to_the_cell_that_runs_and_else_to_its_own(shared, tmp_path):
    go = tmp_path / "go"
    first = shared.send(
        "import os, threading, time\ngo = threading.Event()\n"
        f"def late():\n    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "    print('before'); go.wait(); print('meanwhile')\n"
        "thread = threading.Thread(target=late); thread.start()"
    )
    assert stream(shared.outputs(first)) == ""
    go.touch()
    assert shared.hear(first, "stream")["text"] == "before\n"
    second = shared.send("go.set(); thread.join(); print('from the second cell')")
    found = shared.until(second, first)
    assert stream(found[first]) == ""
    assert stream(found[second]) == "meanwhile\nfrom the second cell\n"


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


def test_cells_after_an_error_are_aborted(shared, tmp_path):
    go = tmp_path / "go"
    codes = (waits_for(go) + "1/0", "x_aborted = 1", "x_aborted = 2")
    requests = [shared.send(code) for code in codes]
    # Answered at once, and so after the cells were received.
    shared.reply(shared.client.kernel_info())
    go.touch()
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
    eventually(lambda: shared.value("len(ticks)") == "3")


def test_input(shared):
    request = shared.send("answer = input('name? '); print('hello', answer)", allow_stdin=True)
    question = shared.question()
    assert question == {"prompt": "name? ", "password": False}
    shared.client.input("Ada")
    assert shared.reply(request)["status"] == "ok"
    assert stream(shared.outputs(request)) == "hello Ada\n"


def test_input_without_a_front_end_that_answers(shared):
    reply, _ = shared.run("input()", allow_stdin=False)
    assert reply["ename"] == "StdinNotImplementedError"


def test_kernel_info_is_answered_while_a_cell_computes(shared, tmp_path):
    go = tmp_path / "go"
    request = shared.begin(waits_for(go, pause="sum(range(100_000))"))
    try:
        info = shared.reply(shared.client.kernel_info())
        assert info["language_info"]["name"] == "python"
        eventually(shared.client.hb_channel.is_beating)
    finally:
        go.touch()
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
