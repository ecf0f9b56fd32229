"""The kernelspec, by which Jupyter finds the kernel: installed, removed, found."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

#: The name of the kernelspec that the wheel brings.
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
    """Installs a kernelspec that starts this environment's Python, and returns its
    folder: the user's with `user`, otherwise one below `prefix`, which is by default
    this environment. The kernel gets the environment variables `env`, and the `profile`
    of IPython's configuration."""
    bundled = json.loads((_bundled() / "kernel.json").read_text())
    spec: dict[str, Any] = {
        "argv": [sys.executable, *bundled["argv"][1:]],
        "display_name": display_name or ("SLAF" if name == NAME else f"SLAF ({name})"),
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": True, "supported_encryption": ["curve"]},
        "env": env or {},
    }
    if profile is not None:
        spec["argv"].append(f"--profile={profile}")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(shutil.copytree(_bundled(), Path(folder) / name))
        (written / "kernel.json").write_text(json.dumps(spec, indent=1))
        manager = KernelSpecManager()
        target = None if user else prefix or sys.prefix
        return manager.install_kernel_spec(str(written), name, user=user, prefix=target)


def _bundled() -> Path:
    """The folder of the kernelspec that the wheel has installed."""
    for file in importlib.metadata.files("slaf-jupyter") or ():
        if file.name == "kernel.json":
            return Path(file.locate()).parent
    raise FileNotFoundError("The package slaf-jupyter is not installed from its wheel.")


def remove(name: str = NAME) -> str:
    """Removes the kernelspec `name` and returns its folder. Raises ValueError if it is
    not one of ours."""
    folder_of(name)
    return KernelSpecManager().remove_kernel_spec(name)


def folder_of(name: str) -> str:
    """The folder of the kernelspec `name`. Raises ValueError if it is not one of ours."""
    manager = KernelSpecManager()
    found = {n: f for n, f in manager.find_kernel_specs().items() if _is_ours(manager, n)}
    if name not in found:
        near = f" There is {', '.join(f'`{n}`' for n in found)}." if found else ""
        raise ValueError(f"There is no SLAF kernel `{name}`.{near} `slaf kernel install` adds one.")
    return found[name]


def _is_ours(manager: KernelSpecManager, name: str) -> bool:
    try:
        return any("slaf.kernel" in word for word in manager.get_kernel_spec(name).argv)
    except NoSuchKernel:
        return False
