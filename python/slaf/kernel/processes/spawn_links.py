"""Links spawned processes of multiprocessing, joblib and loky to the notebook that
starts them."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from slaf.kernel.output.current_request import current
from slaf.kernel.processes import inside_spawned_process

#: Modules whose `get_preparation_data` returns the data that a new process unpickles
#: first.
_SPAWNERS = (
    "multiprocessing.spawn",
    "joblib.externals.loky.backend.spawn",
    "loky.backend.spawn",
)
#: Modules that can pickle objects defined in a notebook.
_PICKLERS = ("cloudpickle", "joblib.externals.cloudpickle", "dill")


def link_spawned_processes(descriptor: int) -> None:
    """Processes that are spawned from here on send messages to `descriptor`."""
    link = _Link(descriptor)

    def patch(module: Any) -> None:
        prepare = module.get_preparation_data

        def get_preparation_data(*arguments: Any, **options: Any) -> dict[str, Any]:
            return {"slaf": link} | prepare(*arguments, **options)

        module.get_preparation_data = get_preparation_data

    for name in _SPAWNERS:
        inside_spawned_process.when_imported(name, patch)


class _Link:
    """Pickles to a call that runs the file `inside_spawned_process.py` in the process that
    unpickles it."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._code = Path(inside_spawned_process.__file__).read_text()

    def __reduce__(self) -> tuple[Callable, tuple]:
        from multiprocessing.context import get_spawning_popen

        popen = get_spawning_popen()
        if popen is None:
            return str, ()
        request = current()
        names = {
            "__name__": f"{inside_spawned_process.__name__} of a process",
            "descriptor": popen.DupFd(popen.duplicate_for_child(self._descriptor)),
            "parent": "{}" if request is None else request.header,
        }
        return exec, (self._code, names)


def send_definition(name: str, descriptor: int) -> None:
    """Writes the object with this name in the notebook to `descriptor`, and closes
    it."""

    def write() -> None:
        with contextlib.suppress(OSError), open(descriptor, "wb") as file:
            file.write(_definition(name))

    # In a thread: the process that asked may be slow to read.
    threading.Thread(target=write, name="slaf-gives", daemon=True).start()


def _definition(name: str) -> bytes:
    """`+` and the pickled value; `-` and an error; or nothing if the name does not
    exist."""
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
            text = f"-The notebook's {name!r} cannot be pickled by {module}: {error}"
            return text.encode(errors="replace")
    return (
        f"-{name!r} is defined in a notebook, and a process that is spawned gets it if "
        "cloudpickle is installed: `pip install cloudpickle`."
    ).encode()
