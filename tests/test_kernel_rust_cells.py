"""`%%rust` in kernels: output while a cell runs, interrupts, and what a dead kernel leaves
behind."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from kernels import Kernel, ended, only, stream


@pytest.fixture(scope="module")
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.stop()


def test_output_streams_while_a_cell_runs_and_the_kernel_interrupts_it(kernel, tmp_path):
    kernel.text("a = 1")
    reply, outputs = kernel.run("%%rust\n1 + 1")
    assert reply["status"] == "ok"
    assert only(outputs, "execute_result")["data"]["text/plain"] == "2"
    said = [m["content"]["data"]["text/plain"] for m in outputs if m["msg_type"] == "display_data"]
    start = "Rust starts: the first time, it compiles what cells share data by"
    assert len(said) <= 1 and all(text.startswith(start) for text in said)
    go_on = tmp_path / "go on"
    request = kernel.send(
        f'%%rust\nprint!("first");\nuse std::io::Write;\nstd::io::stdout().flush()?;\n'
        f'while !std::path::Path::new("{go_on}").exists() {{}}\nprintln!("; second");'
    )
    assert kernel.hear(request, "stream")["text"] == "first"
    go_on.touch()
    assert stream(kernel.outputs(request)) == "; second\n"
    request = kernel.send('%%rust\nprintln!("begun");\nloop {}')
    kernel.hear(request, "stream")
    kernel.manager.interrupt_kernel()
    error = only(kernel.outputs(request), "error")
    assert error["ename"] == "RustInterrupt" and "variables are lost" in error["evalue"]
    assert kernel.value("a") == "1"


def test_the_comm_tells_of_variables(kernel):
    request = kernel.client.session.msg(
        "comm_open", {"comm_id": "c1", "target_name": "slaf.vars", "data": {}}
    )
    kernel.client.shell_channel.send(request)
    told = kernel.hear(request["header"]["msg_id"], "comm_msg")
    assert told["comm_id"] == "c1" and "variables" in told["data"]
    request = kernel.send("new_name = 5")
    told = kernel.hear(request, "comm_msg")["data"]["variables"]
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
    shared = memory_files(process, *children)
    assert sum(shared.values()) > 190_000_000
    process.kill()
    assert ended(*children)
    assert not any(folder.exists() for folder in folders)
    assert not memory_files(*psutil.process_iter()).keys() & shared.keys()


def memory_files(*processes: psutil.Process) -> dict[int, int]:
    """Size of each file in memory that is open in one of these processes, by its number."""
    found = {}
    for process in processes:
        with suppress(OSError):
            for link in Path(f"/proc/{process.pid}/fd").iterdir():
                with suppress(OSError):
                    if os.readlink(link).startswith("/memfd:"):
                        found[link.stat().st_ino] = link.stat().st_size
    return found


def test_a_plain_ipykernel():
    kernel = Kernel("python3")
    try:
        kernel.text("%load_ext slaf")
        kernel.text("import polars as pl; frame = pl.DataFrame({'a': [1, 2]})")
        reply, outputs = kernel.run('%%rust\nslaf::get("frame")?.num_rows()')
        assert only(outputs, "execute_result")["data"]["text/plain"] == "2"
        request = kernel.send('%%rust\nprintln!("begun");\nloop {}')
        kernel.hear(request, "stream")
        kernel.manager.interrupt_kernel()
        assert only(kernel.outputs(request), "error")["ename"] == "RustInterrupt"
    finally:
        kernel.stop()
