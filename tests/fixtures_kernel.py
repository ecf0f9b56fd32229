"""Kernels to talk to. A kernel starts only for tests that use its fixture."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from kernels import PATIENCE, Kernel


@pytest.fixture(scope="module")
def private_ipython(tmp_path_factory):
    """An IPython folder without anybody's configuration and history."""
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))


@pytest.fixture(scope="module")
def shared(private_ipython):
    """A kernel for all tests of a module."""
    kernel = Kernel()
    yield kernel
    kernel.stop()


@pytest.fixture
def with_pbmc(shared, pbmc_slaf):
    """The module's kernel, in which `pbmc` is a handle of :func:`pbmc_slaf`."""
    shared.run(f"from slaf.integrations import read_slaf\npbmc = read_slaf({str(pbmc_slaf)!r})")
    return shared


@pytest.fixture
def fresh(private_ipython):
    """A kernel for one test."""
    kernel = Kernel()
    yield kernel
    kernel.stop()


@pytest.fixture(scope="module")
def logged(private_ipython, tmp_path_factory):
    """A kernel whose log is in the file `log`."""
    path = tmp_path_factory.mktemp("log") / "log"
    with open(path, "w") as log:
        kernel = Kernel(log=log)
        kernel.log = path
        yield kernel
        kernel.stop()


@pytest.fixture
def by_hand(tmp_path, monkeypatch):
    """Starts a program that becomes a kernel, and returns a client of it. The client
    knows the `program`, what it `said`, and the folder of its connection file."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    started = []

    def start(*arguments: str) -> BlockingKernelClient:
        program = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True)
        started.append(program)
        said = program.stderr.readline()
        path = tmp_path / "runtime" / said.split()[-1]
        client = BlockingKernelClient(connection_file=str(path))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        client.program, client.said, client.runtime = program, said, path.parent
        return client

    yield start
    for program in started:
        program.kill()
        program.wait()
