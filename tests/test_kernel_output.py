"""Output from every source arrives in order, in the right cell."""

from __future__ import annotations

import socket

import psutil
import pytest
from kernels import PATIENCE, Kernel, ended, only, stream

C = "import ctypes, os, sys\nlibc = ctypes.CDLL(None)\n"


def test_python_c_and_children_keep_their_order(shared):
    text = shared.text(
        C
        + "import subprocess\n"
        + "for i in range(50):\n"
        + "    print('python', i)\n"
        + "    libc.printf(b'c %d\\n', i)\n"
        + "    os.write(1, b'fd %d\\n' % i)\n"
        + "    if i % 25 == 0: subprocess.run(['echo', f'child {i}'])\n"
    )
    want = ""
    for i in range(50):
        want += f"python {i}\nc {i}\nfd {i}\n" + (f"child {i}\n" if i % 25 == 0 else "")
    assert text == want


def test_text_of_c_without_a_newline_arrives_with_its_cell(shared):
    assert shared.text(C + "libc.printf(b'half a line');") == "half a line"


def test_standard_error_of_c_and_children(shared):
    reply, outputs = shared.run(
        C + "import subprocess\nos.write(2, b'one\\n')\n"
        "subprocess.run('echo two >&2', shell=True)\nprint('three', file=sys.stderr)"
    )
    assert stream(outputs, "stderr") == "one\ntwo\nthree\n"


def test_a_child_writes_to_the_cell_that_runs_and_else_to_its_own(shared, tmp_path):
    wait = "until [ -e '{}' ]; do sleep 0.01; done; echo {}"
    steps = "; ".join(wait.format(tmp_path / word, word) for word in ("before", "late"))
    first = shared.send(f"import subprocess\nlate = subprocess.Popen({steps!r}, shell=True)")
    assert stream(shared.outputs(first)) == ""
    (tmp_path / "before").touch()
    assert shared.hear(first, "stream")["text"] == "before\n"
    second = shared.send(f"open('{tmp_path}/late', 'w').close(); late.wait(); print('second')")
    found = shared.until(second, first)
    assert stream(found[first]) == ""
    assert stream(found[second]) == "late\nsecond\n"


def test_forked_children_write_to_their_cell(shared):
    text = shared.text(
        "import os, sys\nsys.stdout.flush()\npid = os.fork()\n"
        "if pid == 0:\n    print('from the child'); os._exit(0)\n"
        "os.waitpid(pid, 0)\nprint('from the parent')"
    )
    assert text == "from the child\nfrom the parent\n"
    text = shared.text(
        "import multiprocessing as mp\n"
        "def say(i): print('worker', i, flush=True)\n"
        "workers = [mp.get_context('fork').Process(target=say, args=(i,)) for i in range(4)]\n"
        "for w in workers: w.start()\n"
        "for w in workers: w.join()\n"
    )
    assert sorted(text.splitlines()) == [f"worker {i}" for i in range(4)]


def test_a_pipe_that_is_full_stops_nobody(shared):
    """printf holds Python's lock, and no pipe holds what it writes."""
    count = shared.text(
        "import ctypes\nlibc = ctypes.PyDLL(None)\n"
        "for _ in range(2000): libc.printf(b'%s\\n', b'x' * 4000)\nlibc.fflush(None);"
    )
    assert len(count) == 2000 * 4001


def test_characters_are_not_torn(shared):
    text = shared.text("import os\nfor b in 'größe µ 🧬\\n'.encode(): os.write(1, bytes([b]))")
    assert text == "größe µ 🧬\n"
    assert shared.text("import os; os.write(1, b'a\\xffb\\n');") == "a\ufffdb\n"


def test_a_flood_of_a_child(shared):
    text = shared.text("import subprocess; subprocess.run(['seq', '1', '300000']);")
    assert text == "".join(f"{i}\n" for i in range(1, 300_001))


def test_a_million_lines_in_bounded_memory(fresh):
    """The client reads slowly: nothing is lost and the kernel does not grow."""
    process = psutil.Process(fresh.pid)
    fresh.run("line = 'x' * 90")
    before = process.memory_info().rss
    request = fresh.send("for i in range(1_000_000): print(line)")
    lines, peak, messages = 0, 0, 0
    while True:
        message = fresh.client.get_iopub_msg(timeout=PATIENCE)
        if message["msg_type"] == "stream":
            lines += message["content"]["text"].count("\n")
            peak = max(peak, process.memory_info().rss)
            messages += 1
        if (
            message["parent_header"].get("msg_id") == request
            and message["content"].get("execution_state") == "idle"
        ):
            break
    assert lines == 1_000_000
    assert messages < 5000
    # jupyter_client's own queue takes what it can; ours stays below its limit.
    assert peak - before < 250 << 20


def test_a_front_end_that_stops_reading_stops_nobody_else(fresh):
    """A suspended browser's socket fills up; the others go on."""
    import json

    connection = json.loads(open(fresh.manager.connection_file).read())
    stuck = socket.create_connection((connection["ip"], connection["iopub_port"]))
    # ZMTP 3.0, NULL, a subscription to everything; then silence.
    stuck.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31))
    ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
    stuck.sendall(bytes([4, len(ready)]) + ready + b"\x00\x01\x01")
    # The kernel has heard of the subscription.
    said = b""
    while b"iopub_welcome" not in said:
        said += stuck.recv(1 << 12)
    request = fresh.send("for _ in range(100): print('x' * 1_000_000)")
    assert len(stream(fresh.outputs(request))) == 100_000_100
    assert fresh.value("1 + 1") == "2"
    stuck.close()


def test_a_display_of_fifty_megabytes(shared):
    _, outputs = shared.run(
        "from IPython.display import display\n"
        "display({'application/x-test': 'x' * 50_000_000, 'text/plain': 'big'}, raw=True)"
    )
    assert len(only(outputs, "display_data")["data"]["application/x-test"]) == 50_000_000


def test_binary_buffers_pass_unchanged(shared):
    request = shared.send(
        "import comm\nc = comm.create_comm(target_name='bytes', data={})\n"
        "c.send({'n': 1}, buffers=[b'\\x00\\xff' * 500_000, memoryview(b'abc')])"
    )
    shared.reply(request)
    (message,) = [m for m in shared.outputs(request) if m["msg_type"] == "comm_msg"]
    assert [bytes(b) for b in message["buffers"]] == [b"\x00\xff" * 500_000, b"abc"]


def test_carriage_returns_and_clear_output(shared):
    _, outputs = shared.run(
        "from IPython.display import clear_output\n"
        "print('10 %', end='\\r'); print('20 %')\nclear_output(wait=True)\nprint('done')"
    )
    kinds = [m["msg_type"] for m in outputs if m["msg_type"] != "status"]
    assert kinds == ["execute_input", "stream", "clear_output", "stream"]
    assert outputs[2]["content"]["text"] == "10 %\r20 %\n"
    assert only(outputs, "clear_output") == {"wait": True}


def test_a_pool_of_threads_writes_to_the_cell_that_gave_it_work(shared):
    shared.run(
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(1)\npool.submit(print, 'first').result()"
    )
    assert shared.text("pool.submit(print, 'second').result()") == "second\n"


def test_what_threads_and_tasks_of_earlier_cells_say_is_shown_in_the_running_one(shared):
    first = shared.send(
        "import asyncio, threading\nfrom IPython.display import display\n"
        "go, told = threading.Event(), asyncio.Event()\n"
        "def late(): go.wait(); print('of a thread'); display('of a thread')\n"
        "async def later(): await told.wait(); display('of a task')\n"
        "thread = threading.Thread(target=late); thread.start()\n"
        "task = asyncio.create_task(later())"
    )
    shared.reply(first)
    code = "go.set(); told.set(); thread.join(); await task; display('own')"
    second = shared.send(code)
    shared.reply(second)
    found = shared.until(second, first)
    texts = lambda r: sorted(  # noqa: E731
        m["content"]["data"]["text/plain"] for m in found[r] if m["msg_type"] == "display_data"
    )
    assert texts(first) == []
    assert texts(second) == ["'of a task'", "'of a thread'", "'own'"]
    assert stream(found[second]) == "of a thread\n"


def test_a_thread_shows_in_its_own_cell_while_that_runs(shared):
    outputs = shared.outputs(
        shared.send(
            "t = threading.Thread(target=display, args=('of a thread',)); t.start(); t.join()"
        )
    )
    assert only(outputs, "display_data")["data"]["text/plain"] == "'of a thread'"


def test_two_clients_see_everything(fresh):
    other = fresh.another_client()
    try:
        request = fresh.send("print('for all'); 6 * 7")
        fresh.reply(request)
        mine = fresh.outputs(request)
        theirs = []
        while len(theirs) < len(mine):
            message = other.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == request:
                theirs.append(message)
        assert [m["header"]["msg_id"] for m in theirs] == [m["header"]["msg_id"] for m in mine]
        other.execute("from_the_other = 5")
        other.get_shell_msg(timeout=PATIENCE)
        assert fresh.value("from_the_other") == "5"
    finally:
        other.stop_channels()


def test_the_log_is_apart_from_cells(tmp_path, private_ipython):
    with open(tmp_path / "log", "w+") as log:
        kernel = Kernel(log=log)
        try:
            reply, outputs = kernel.run(
                "from slaf.kernel.output import streams; print('for the log', file=streams.log); "
                "print('for the cell')"
            )
            assert stream(outputs) == "for the cell\n" and not stream(outputs, "stderr")
        finally:
            kernel.stop()
        assert "for the log" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import ctypes; ctypes.string_at(0)", "a segmentation fault"),
        ("import os; os.write(2, b'free(): invalid pointer\\n'); os.abort()", "an abort"),
    ],
)
def test_a_crash_names_its_cell_in_the_log(tmp_path, private_ipython, code, why):
    with open(tmp_path / "log", "w+") as log:
        kernel = Kernel(log=log)
        kernel.run("before = 1")
        kernel.send(code)
        assert ended(psutil.Process(kernel.pid))
        kernel.stop()
        told = (tmp_path / "log").read_text()
    assert f"slaf kernel: {why} in cell [2]: {code}" in told
    assert "Fatal Python error" in told
