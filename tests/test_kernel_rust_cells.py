"""`%%rust` in kernels: output while a cell runs, interrupts, and what a dead kernel leaves."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from kernels import Kernel, only, stream


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.stop()


def message(kernel, request: str, wanted) -> dict:
    """The next message on iopub of a request that `wanted` takes."""
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") == request and wanted(message):
            return message


def test_output_streams_while_a_cell_runs_and_the_kernel_interrupts_it(kernel, tmp_path):
    kernel.text("a = 1")
    reply, outputs = kernel.run("%%rust\n1 + 1")
    assert reply["status"] == "ok"
    assert only(outputs, "execute_result")["data"]["text/plain"] == "2"
    said = [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "display_data"]
    assert said == ["Rust starts; the first time, it compiles what cells share data by."]
    go_on = tmp_path / "go on"
    request = kernel.send(
        f'%%rust\nprint!("first");\nuse std::io::Write;\nstd::io::stdout().flush()?;\n'
        f'while !std::path::Path::new("{go_on}").exists() {{}}\nprintln!("; second");'
    )
    first = message(kernel, request, lambda m: m["msg_type"] == "stream")
    assert first["content"]["text"] == "first"
    go_on.touch()
    assert stream(kernel.outputs(request)) == "; second\n"
    request = kernel.send('%%rust\nprintln!("begun");\nloop {}')
    message(kernel, request, lambda m: m["msg_type"] == "stream")
    kernel.manager.interrupt_kernel()
    error = only(kernel.outputs(request), "error")
    assert error["ename"] == "RustInterrupt" and "variables are lost" in error["evalue"]
    assert kernel.value("a") == "1"


def test_the_comm_tells_of_variables(kernel):
    request = kernel.client.session.msg(
        "comm_open", {"comm_id": "c1", "target_name": "slaf.vars", "data": {}}
    )
    kernel.client.shell_channel.send(request)
    is_comm = lambda m: m["msg_type"] == "comm_msg"  # noqa: E731
    told = message(kernel, request["header"]["msg_id"], is_comm)["content"]
    assert told["comm_id"] == "c1" and "variables" in told["data"]
    request = kernel.send("new_name = 5")
    told = message(kernel, request, is_comm)["content"]["data"]["variables"]
    (new,) = [v for v in told if v["name"] == "new_name"]
    assert (new["type"], new["languages"]) == ("int", ["Python"])
    kernel.client.shell_channel.send(
        kernel.client.session.msg("comm_close", {"comm_id": "c1", "data": {}})
    )


def test_a_killed_kernel_leaves_nothing(kernel):
    kernel.text("import numpy as np, polars as pl\nframe = pl.DataFrame({'a': np.arange(25e6)})")
    reply, _ = kernel.run('%%rust\nlet frame = slaf::get("frame")?;\nframe.num_rows()')
    assert reply["status"] == "ok"
    reply, _ = kernel.run("%%rust\nstd::thread::spawn(|| loop {});")
    process = psutil.Process(int(kernel.value("__import__('os').getpid()")))
    children = process.children(recursive=True)
    assert len(children) >= 3
    folders = {Path(c.environ().get("EVCXR_TMPDIR", "")) for c in children} - {Path("")}
    assert folders and all(folder.exists() for folder in folders)
    shared = memory_of_files()
    assert shared > 190_000_000
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not any(folder.exists() for folder in folders)
    assert memory_of_files() < shared - 190_000_000


def memory_of_files() -> int:
    """Bytes of the machine's memory in memory files."""
    (line,) = [x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("Shmem:")]
    return 1024 * int(line.split()[1])


def test_a_plain_ipykernel():
    kernel = Kernel("python3")
    try:
        kernel.text("%load_ext slaf")
        kernel.text("import polars as pl; frame = pl.DataFrame({'a': [1, 2]})")
        reply, outputs = kernel.run('%%rust\nslaf::get("frame")?.num_rows()')
        assert only(outputs, "execute_result")["data"]["text/plain"] == "2"
        request = kernel.send('%%rust\nprintln!("begun");\nloop {}')
        message(kernel, request, lambda m: m["msg_type"] == "stream")
        kernel.manager.interrupt_kernel()
        assert only(kernel.outputs(request), "error")["ename"] == "RustInterrupt"
    finally:
        kernel.stop()
