"""Programs that run the kernel: command-line tools, nbclient's relatives, Voilà, several
environments, and a start by hand."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from kernels import PATIENCE, Kernel, of_cells, only, stream
from nbformat.v4 import new_output

pytestmark = pytest.mark.usefixtures("private_ipython")


def done(*command: str, **options) -> str:
    """stdout of a command, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def notebook(path: Path, *cells: str, tags: dict[int, str] | None = None) -> Path:
    made = of_cells(*cells)
    for at, tag in (tags or {}).items():
        made.cells[at].metadata["tags"] = [tag]
    nbformat.write(made, path)
    return path


def outputs(path: Path) -> list[str]:
    cells = nbformat.read(path, 4).cells
    return ["".join(o.get("text", "") for o in c.get("outputs", [])) for c in cells]


def test_jupyter_run(tmp_path):
    (tmp_path / "script.py").write_text("print('by jupyter run')\n")
    said = done("jupyter", "run", "--kernel", "slaf", str(tmp_path / "script.py"))
    assert "by jupyter run" in said


def test_jupyter_console():
    said = done(
        *("jupyter", "console", "--kernel", "slaf", "--simple-prompt"),
        input="print('by', 'the console')\n%who_ls\n6 * 7\nexit\n",
    )
    assert "by the console" in said and "42" in said


class VSCode:
    """Its requests, with their extra fields."""

    OWN = {"silent": True, "store_history": False, "stop_on_error": False, "allow_stdin": True}

    def __init__(self, kernel: Kernel):
        self.kernel, self.seq = kernel, 0

    def request(self, code: str, **content) -> dict:
        content = {"code": code, "user_expressions": {}} | self.OWN | content
        return self.kernel.client.session.msg("execute_request", content)

    def sent(self, message: dict) -> str:
        self.kernel.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def cell(self, code: str) -> tuple[dict, list[dict]]:
        message = self.request(code, silent=False, store_history=True)
        message["metadata"] = {
            "cellId": "vscode-notebook-cell:/a%20b.ipynb#W0sZmlsZQ%3D%3D",
            "deletedCells": [],
        }
        request = self.sent(message)
        return self.kernel.reply(request), self.kernel.outputs(request)

    def debug(self, command: str, **arguments) -> dict:
        self.seq += 1
        content = {"type": "request", "seq": self.seq, "command": command, "arguments": arguments}
        return self.kernel.ask("debug_request", content, "control")


@pytest.fixture
def vs_code(fresh):
    return VSCode(fresh)


def test_as_vs_code_speaks(vs_code):
    """Silent cells of its own around the user's, and variables by printed JSON."""
    kernel = vs_code.kernel
    assert kernel.ask("kernel_info_request", {})["status"] == "ok"
    for code in (
        "%matplotlib inline\nimport matplotlib_inline; "
        "matplotlib_inline.backend_inline.set_matplotlib_formats('png')",
        "import os as _VSCODE_os\n_VSCODE_os.environ['VSCODE'] = '1'\ndel _VSCODE_os",
    ):
        request = vs_code.sent(vs_code.request(code))
        assert kernel.reply(request)["status"] == "ok"
        kernel.outputs(request)
    reply, outputs = vs_code.cell("values = [1, 2]\nlen(values)")
    assert reply["execution_count"] == 1
    assert only(outputs, "execute_result")["data"]["text/plain"] == "2"
    reply, outputs = vs_code.cell("values[3]")
    assert reply["ename"] == "IndexError"
    assert "In[2]" in "".join(only(outputs, "error")["traceback"])
    code = (
        "import builtins as _b, json as _j\n"
        "print(_j.dumps([n for n in globals() if not n.startswith('_') and n == 'values']))"
    )
    request = vs_code.sent(vs_code.request(code, silent=False))
    assert stream(kernel.outputs(request)) == '["values"]\n'
    assert kernel.ask("comm_info_request", {"target_name": "jupyter.widget"})["comms"] == {}
    run_by_line(vs_code)
    assert kernel.value("6 * 7") == "42"


def run_by_line(vs_code: VSCode) -> None:
    """As it runs a cell through the debugger."""
    debug = vs_code.debug
    assert debug("debugInfo")["body"]["isStarted"] is False
    own = {"clientID": "vscode", "adapterID": "Python Kernel Debug Adapter"}
    assert debug("initialize", **own)["success"]
    assert debug("attach", justMyCode=True, cwd="/", logToFile=False)["success"]
    dumped = debug("dumpCell", code="a = 1\nb = 2\n")["body"]["sourcePath"]
    lines = [{"line": 1}, {"line": 2}]
    reply = debug("setBreakpoints", source={"path": dumped}, breakpoints=lines)
    assert all(b["verified"] for b in reply["body"]["breakpoints"])
    assert debug("configurationDone")["success"]
    assert debug("disconnect", restart=False)["success"]


def test_nbconvert_executes_and_tells_errors(tmp_path):
    good = notebook(tmp_path / "good.ipynb", "print('good')")
    done("jupyter", "nbconvert", "--to", "notebook", "--execute", "--inplace", str(good))
    assert outputs(good) == ["good\n"]
    bad = notebook(tmp_path / "bad.ipynb", "1 / 0", "print('not reached')")
    command = ("jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout", str(bad))
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode != 0 and "ZeroDivisionError" in failed.stderr


def test_papermill(tmp_path):
    source = notebook(tmp_path / "in.ipynb", "x = 1", "print(x * 2)", tags={0: "parameters"})
    target = tmp_path / "out.ipynb"
    done("papermill", "--no-progress-bar", "-p", "x", "21", str(source), str(target))
    assert outputs(target)[-1] == "42\n"


def test_nbclient_with_timeouts_and_allowed_errors(tmp_path):
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError

    slow = nbformat.read(notebook(tmp_path / "slow.ipynb", "while True: pass"), 4)
    with pytest.raises(CellTimeoutError):
        NotebookClient(slow, timeout=2).execute()
    mixed = nbformat.read(notebook(tmp_path / "mixed.ipynb", "1 / 0", "print('reached')"), 4)
    NotebookClient(mixed, allow_errors=True, timeout=PATIENCE).execute()
    assert mixed.cells[0].outputs[0].ename == "ZeroDivisionError"
    assert mixed.cells[1].outputs == [new_output("stream", text="reached\n")]


def test_voila(tmp_path):
    page = notebook(
        tmp_path / "page.ipynb",
        "import ipywidgets\nprint('shown by', 'voila')\nipywidgets.IntSlider(value=5)",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["voila", str(page), "--no-browser", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as reply:
                    html = reply.read().decode()
                break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None
                time.sleep(0.3)
    finally:
        server.terminate()
        server.wait()
    assert "shown by voila" in html and "widget-view+json" in html


def test_environments_side_by_side(tmp_path):
    slaf = str(Path(sys.executable).parent / "slaf")
    environment = os.environ | {"JUPYTER_PATH": str(tmp_path / "share" / "jupyter")}
    for name in ("one", "two"):
        said = done(
            slaf, "kernel", "install", "--prefix", str(tmp_path), "--name", name, env=environment
        )
        assert said.startswith(f"{name}: installed in {tmp_path}")
        spec = json.loads((tmp_path / f"share/jupyter/kernels/{name}/kernel.json").read_text())
        assert spec["argv"][0] == sys.executable and spec["display_name"] == f"SLAF ({name})"
        assert (tmp_path / f"share/jupyter/kernels/{name}/logo-64x64.png").exists()
    said = done(slaf, "kernel", "doctor", "--name", "one", env=environment)
    assert "FIX" not in said and "a kernel started and ran a cell" in said
    spec["argv"][0] = "/nowhere/python"
    (tmp_path / "share/jupyter/kernels/two/kernel.json").write_text(json.dumps(spec))
    checked = subprocess.run(
        [slaf, "kernel", "doctor", "--name", "two"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert checked.returncode == 1
    assert "FIX  kernelspec two" in checked.stdout and "is gone" in checked.stdout
    for name in ("one", "two"):
        done(slaf, "kernel", "remove", "--name", name, env=environment)
    missing = subprocess.run(
        [slaf, "kernel", "remove", "--name", "one"], capture_output=True, text=True, env=environment
    )
    assert missing.returncode == 1
    assert missing.stderr.startswith("slaf: There is no SLAF kernel `one`. There is `slaf`.")


def test_started_by_hand_it_writes_its_connection_file(by_hand):
    client = by_hand("-m", "slaf.kernel")
    (path,) = client.runtime.iterdir()
    assert client.said == f"To connect another client: --existing {path.name}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert client.execute("1 + 1", reply=True, timeout=PATIENCE)["content"]["status"] == "ok"
    client.shutdown()
    client.stop_channels()
    assert client.program.wait(PATIENCE) == 0


def test_an_ipc_socket_that_a_dead_kernel_left_is_replaced(tmp_path):
    from jupyter_client.manager import KernelManager

    for _ in range(2):
        manager = KernelManager(kernel_name="slaf", transport="ipc", ip=str(tmp_path / "k"))
        for port, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), start=1):
            setattr(manager, f"{channel}_port", port)
        manager.cache_ports = False
        manager.start_kernel()
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        client.stop_channels()
        # Without a farewell: the socket files stay.
        os.kill(manager.provisioner.pid, 9)
        manager.provisioner.process.wait()
        manager.cleanup_resources()
