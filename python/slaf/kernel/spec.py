"""`slaf kernel`: where Jupyter finds the kernel, and whether it works there."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

#: The name under which the wheel brings its own.
NAME = "slaf"


def install(
    *,
    name: str = NAME,
    display_name: str | None = None,
    user: bool = False,
    prefix: str | None = None,
    env: dict[str, str] | None = None,
    profile: str | None = None,
) -> str:
    """Writes a kernelspec that starts this environment's Python, and gives its
    folder: the user's with `user`, else below `prefix`, by default this
    environment. The kernel gets the variables `env` and IPython's `profile`."""
    brought = json.loads((_brought() / "kernel.json").read_text())
    spec = {
        "argv": [sys.executable, *brought["argv"][1:]],
        "display_name": display_name or ("SLAF" if name == NAME else f"SLAF ({name})"),
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": True, "supported_encryption": ["curve"]},
        "env": env or {},
    }
    if profile is not None:
        spec["argv"].append(f"--profile={profile}")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(shutil.copytree(_brought(), Path(folder) / name))
        (written / "kernel.json").write_text(json.dumps(spec, indent=1))
        manager = KernelSpecManager()
        target = None if user else prefix or sys.prefix
        return manager.install_kernel_spec(str(written), name, user=user, prefix=target)


def _brought() -> Path:
    """The folder of the kernelspec that the wheel has installed."""
    for file in importlib.metadata.files("slaf-jupyter") or ():
        if file.name == "kernel.json":
            return Path(file.locate()).parent
    raise FileNotFoundError("The package slaf-jupyter is not installed from its wheel.")


def remove(name: str = NAME) -> str:
    """Removes the kernelspec `name` and gives the folder that it was in."""
    _known(name)
    return KernelSpecManager().remove_kernel_spec(name)


def _known(name: str) -> dict[str, str]:
    """Names and folders of our kernelspecs, `name` among them."""
    manager = KernelSpecManager()
    found = {n: f for n, f in manager.find_kernel_specs().items() if _is_ours(manager, n)}
    if name not in found:
        near = f" There is {', '.join(f'`{n}`' for n in found)}." if found else ""
        raise ValueError(f"There is no SLAF kernel `{name}`.{near} `slaf kernel install` adds one.")
    return found


def _is_ours(manager: KernelSpecManager, name: str) -> bool:
    try:
        return any("slaf.kernel" in word for word in manager.get_kernel_spec(name).argv)
    except NoSuchKernel:
        return False


class Check(NamedTuple):
    """One thing that `doctor` looked at."""

    what: str
    #: What to do about it; nothing if all is well.
    cure: str | None = None


def doctor(name: str = NAME) -> Iterator[Check]:
    """Looks at all that the kernel needs, one thing after another."""
    checks: list[Callable[[str], Check]] = [_python, _packages, _spec, _runtime, _start]
    for check in checks:
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


def _spec(name: str) -> Check:
    """kernelspec"""
    folder = _known(name)[name]
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
