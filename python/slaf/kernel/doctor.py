"""`slaf kernel doctor`: checks all that the kernel needs, and says what to fix."""

from __future__ import annotations

import importlib.metadata
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from jupyter_client.kernelspec import KernelSpecManager

from slaf.kernel.kernelspec import folder_of


class Check(NamedTuple):
    """One thing that was checked."""

    what: str
    #: What to do about it; `None` if all is well.
    fix: str | None = None


def checks(name: str) -> Iterator[Check]:
    """Checks all that the kernel of the kernelspec `name` needs, one after another."""
    for check in (_python, _packages, _kernelspec, _runtime, _start):
        try:
            yield check(name)
        except Exception as error:
            yield Check(check.__doc__ or "", str(error))


def _python(name: str) -> Check:
    """Python"""
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 10)
    return Check(f"Python {version} at {sys.executable}", "Use 3.10 or newer." if old else None)


def _packages(name: str) -> Check:
    """packages"""
    required = ("ipykernel", "ipython", "jupyter-client", "debugpy", "polars")
    found = {p: importlib.metadata.version(p) for p in required}
    return Check(", ".join(f"{p} {v}" for p, v in found.items()))


def _kernelspec(name: str) -> Check:
    """kernelspec"""
    folder = folder_of(name)
    python = KernelSpecManager().get_kernel_spec(name).argv[0]
    what = f"kernelspec {name} in {folder}"
    if not python.startswith("python") and not os.path.exists(python):
        return Check(what, f"Its Python {python} is gone: `slaf kernel install --name {name}`.")
    if os.path.isabs(python) and not os.path.samefile(python, sys.executable):
        return Check(
            what, f"It starts {python}, another environment: `slaf kernel install --name {name}`."
        )
    return Check(what)


def _runtime(name: str) -> Check:
    """runtime folder"""
    from jupyter_core.paths import jupyter_runtime_dir

    folder = jupyter_runtime_dir()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    what = f"connection files in {folder}"
    if not os.access(folder, os.W_OK):
        return Check(what, "It cannot be written: set JUPYTER_RUNTIME_DIR to a folder of yours.")
    if stat.S_IMODE(os.stat(folder).st_mode) & stat.S_IWOTH:
        return Check(what, f"Others can write there: `chmod 700 {folder}`.")
    return Check(what)


def _start(name: str) -> Check:
    """start"""
    from jupyter_client.manager import start_new_kernel

    begun = time.perf_counter()
    manager, client = start_new_kernel(kernel_name=name, startup_timeout=60)
    try:
        reply = client.execute("import slaf", reply=True, timeout=60)["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    what = f"a kernel started and ran a cell in {time.perf_counter() - begun:.1f} s"
    return Check(what, None if reply["status"] == "ok" else reply["evalue"])
