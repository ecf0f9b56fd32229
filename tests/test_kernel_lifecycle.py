"""Interrupts, restarts, and how a kernel starts and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from queue import Empty

import psutil
import pytest
from jupyter_client.manager import KernelManager
from kernels import PATIENCE, ended, only

#: Each says when it has begun.
LONG = {
    "busy loop": "print('begun')\nwhile True: pass",
    "sleep": "import time; print('begun'); time.sleep(1000)",
    "numpy": "import numpy as np\nprint('begun')\nwhile True: np.ones(1000).sum()",
    "await": "import asyncio; print('begun'); await asyncio.sleep(1000)",
    "await in a busy task": "import asyncio\nprint('begun')\nwhile True: await asyncio.sleep(0)",
    "sql": "%%sql\nSELECT COUNT(*) FROM expression a CROSS JOIN expression b "
    "WHERE a.value * b.value > {{print('begun') or 3}}",
    "output": "while True: print('x' * 50)",
    "child": "!echo begun; sleep 1000",
}


@pytest.mark.parametrize("code", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("by", ["message", "signal"])
def test_interrupt(with_pbmc, code, by):
    request = with_pbmc.send(code)
    with_pbmc.hear(request, "stream")
    if by == "message":
        with_pbmc.manager.interrupt_kernel()
    else:
        with_pbmc.manager.provisioner.process.send_signal(signal.SIGINT)
        if code.startswith("!"):
            os.killpg(with_pbmc.manager.provisioner.pgid, signal.SIGINT)
    reply = with_pbmc.reply(request)
    if code.startswith("!"):
        assert reply["status"] in ("ok", "error")
    else:
        assert reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    with_pbmc.outputs(request)
    assert with_pbmc.value("1 + 1") == "2"


def test_two_interrupts_in_a_row(shared):
    request = shared.begin("while True: pass")
    shared.manager.interrupt_kernel()
    shared.manager.interrupt_kernel()
    assert shared.reply(request)["status"] == "error"
    shared.outputs(request)
    assert shared.value("1 + 1") == "2"


def test_an_interrupt_between_cells_does_nothing(shared):
    control = shared.client.control_channel
    for _ in range(2):
        control.send(shared.client.session.msg("interrupt_request"))
        assert control.get_msg(timeout=PATIENCE)["msg_type"] == "interrupt_reply"
    assert shared.value("1 + 1") == "2"


def test_interrupt_while_waiting_for_input(shared):
    request = shared.send("input('never answered')", allow_stdin=True)
    shared.question()
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
        fresh.begin("while True: pass")
    fresh.manager.shutdown_kernel()
    assert ended(process, *children)


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
    assert ended(process)


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
        "time.sleep(1000)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    kernel = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert ended(kernel)


def test_ipc_instead_of_tcp(tmp_path):
    manager = KernelManager(kernel_name="slaf", transport="ipc", ip=str(tmp_path / "kernel"))
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        outputs = []
        client.execute_interactive("6 * 7", timeout=PATIENCE, output_hook=outputs.append)
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
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr
