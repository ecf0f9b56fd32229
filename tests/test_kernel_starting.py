"""Ways to start a kernel: with options, by hand, and inside a program."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from kernels import PATIENCE, Kernel


def test_a_profile_folder_by_an_option(tmp_path, private_ipython):
    (tmp_path / "startup").mkdir()
    (tmp_path / "startup" / "mine.py").write_text("from_profile = 1")
    kernel = Kernel(extra_arguments=["--profile-dir", str(tmp_path)])
    try:
        assert kernel.value("from_profile, '' in __import__('sys').path") == "(1, True)"
    finally:
        kernel.stop()


def test_options_are_explained():
    command = [sys.executable, "-m", "slaf.kernel", "--help-all"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "IPKernelApp" in done.stdout and "--transport" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_kernel_by_hand_leaves_no_files(by_hand, transport):
    client = by_hand("-m", "slaf.kernel", f"--transport={transport}")
    assert client.transport == transport
    assert len(list(client.runtime.iterdir())) == {"tcp": 1, "ipc": 6}[transport]
    client.shutdown(reply=True, timeout=PATIENCE)
    assert client.program.wait(PATIENCE) == 0
    assert not list(client.runtime.iterdir())


def test_ports_by_options(by_hand):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = by_hand("-m", "slaf.kernel", f"--shell={port}")
    assert client.shell_port == port
    client.stop_channels()


def test_a_port_that_is_taken_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "slaf.kernel", f"--shell={port}"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    expected = f"The kernel cannot bind its shell socket at tcp://127.0.0.1:{port}"
    assert done.stderr.startswith(expected) and len(done.stderr.splitlines()) == 1
    assert not os.listdir(tmp_path)


EMBEDDED = """\
import signal
from slaf.kernel.embed import embed_kernel
count = 0
def inside():
    local = "hi there"
    embed_kernel()
inside()
for count in range(1, 4):
    embed_kernel()
with open({out!r}, "w") as file:
    print(count, signal.getsignal(signal.SIGINT) is signal.default_int_handler, file=file)
"""


@pytest.mark.parametrize("thread", [False, True])
def test_a_kernel_inside_a_program(by_hand, tmp_path, thread):
    program, out = tmp_path / "program.py", tmp_path / "out.txt"
    program.write_text(EMBEDDED.format(out=str(out)))
    if thread:
        runs = f"import threading, runpy; t = threading.Thread(target=runpy.run_path, args=({str(program)!r},)); t.start(); t.join()"
        client = by_hand("-c", runs)
    else:
        client = by_hand(str(program))

    def value(name: str) -> str:
        options = {"user_expressions": {"v": name}, "reply": True, "timeout": PATIENCE}
        content = client.execute("", **options)["content"]
        return content["user_expressions"]["v"]["data"]["text/plain"]

    assert value("local, count") == "('hi there', 0)"
    for seen in ("1", "2"):
        client.execute("get_ipython().exit_now = True", reply=True, timeout=PATIENCE)
        assert value("count") == seen
    # From here on the program runs alone.
    client.shutdown(reply=True, timeout=PATIENCE)
    assert client.program.wait(PATIENCE) == 0
    assert out.read_text() == "3 True\n"
    assert not list(client.runtime.iterdir())
    client.stop_channels()
