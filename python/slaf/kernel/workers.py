"""Spawned processes of multiprocessing, joblib and loky: each is told first of
the notebook that it belongs to."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from slaf.kernel import streams, worker

#: Who makes what a process gets first.
_SPAWNERS = (
    "multiprocessing.spawn",
    "joblib.externals.loky.backend.spawn",
    "loky.backend.spawn",
)
#: Who can pickle what is defined in a notebook.
_PICKLERS = ("cloudpickle", "joblib.externals.cloudpickle", "dill")


def follow_workers(wire: int) -> None:
    """Processes that are spawned from here on send to the socket `wire`."""
    link = _Link(wire)

    def patch(module: ModuleType) -> None:
        prepare = module.get_preparation_data

        def get_preparation_data(*arguments: Any, **options: Any) -> dict[str, Any]:
            return {"slaf": link} | prepare(*arguments, **options)

        module.get_preparation_data = get_preparation_data

    for name in _SPAWNERS:
        worker.when_imported(name, patch)


class _Link:
    """Becomes, in the process that gets it, what `worker` does there."""

    def __init__(self, wire: int):
        self._wire = wire
        self._code = Path(worker.__file__).read_text()

    def __reduce__(self) -> tuple[Callable, tuple]:
        from multiprocessing.context import get_spawning_popen

        popen = get_spawning_popen()
        if popen is None:
            return str, ()
        running = streams.current()
        given = {
            "__name__": f"{worker.__name__} of a process",
            "wire": popen.DupFd(popen.duplicate_for_child(self._wire)),
            "parent": "{}" if running is None else running.header,
        }
        return exec, (self._code, given)


def give_definition(name: str, to: int) -> None:
    """Writes what the notebook calls `name` to a descriptor, and closes it."""

    def give() -> None:
        with contextlib.suppress(OSError), open(to, "wb") as file:
            file.write(_definition(name))

    # Who asks may be slow to read.
    threading.Thread(target=give, name="slaf-gives", daemon=True).start()


def _definition(name: str) -> bytes:
    names = vars(sys.modules["__main__"])
    if name not in names:
        return b""
    for module in _PICKLERS:
        try:
            dumps = import_module(module).dumps
        except ImportError:
            continue
        try:
            return b"+" + dumps(names[name])
        except Exception as error:
            said = f"-The notebook's {name!r} cannot be pickled by {module}: {error}"
            return said.encode(errors="replace")
    return (
        f"-{name!r} is defined in a notebook, and a process that is spawned gets it if "
        "cloudpickle is installed: `pip install cloudpickle`."
    ).encode()
