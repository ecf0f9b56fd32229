"""Runs inside a spawned process of multiprocessing or loky: objects that the process
displays appear in the notebook, lines that it prints stay whole, and names of the
notebook can be unpickled.

The kernel sends the text of this file to the process, where slaf may not be
importable. So it imports nothing but the standard library.
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import json
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

#: Maximum size of a packet in bytes. The socket sends a packet as a whole.
PACKET = 48 << 10
#: Before each packet: the child's process, the number of the message, and how many
#: packets of the message follow.
HEAD = struct.Struct("<IIQ")

_count = itertools.count()


def packets(texts: list[str], buffers: list[bytes]) -> Iterator[bytes]:
    """A message to the kernel's process, cut into packets."""
    head = json.dumps([texts, [len(b) for b in buffers]]).encode()
    whole = b"".join([struct.pack("<Q", len(head)), head, *buffers])
    number, count = next(_count), -(-len(whole) // PACKET)
    for at in range(count):
        part = whole[at * PACKET : (at + 1) * PACKET]
        yield HEAD.pack(os.getpid(), number, count - at - 1) + part


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Calls `then` with the module `name`, now or once it has been imported."""
    if name in sys.modules:
        then(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, then))


class _Finder:
    """Finds the module as the other finders do, and adds a call after its import."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]):
        self._name, self._then = name, then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        found = (finder.find_spec(name, path, target) for finder in [*sys.meta_path])
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._then(module)

            spec.loader.exec_module = exec_module
        return spec


# In the process ---------------------------------------------------------------


def attach(descriptor: int, parent: str) -> None:
    """Links this process to the notebook. `descriptor` leads to the kernel, and
    `parent` is the header of the cell that spawned this process."""
    link = _Link(descriptor, parent)
    for stream in (sys.stdout, sys.stderr):
        # Lines are written in one piece, even with `python -u`.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(line_buffering=True, write_through=False)
    when_imported("IPython.core.display_functions", link.patch_display)
    when_imported("comm", link.patch_comms)
    vars(builtins)["display"] = _display
    sys.modules["__main__"].__getattr__ = link.definition


def _display(*objects: Any, **options: Any) -> Any:
    """IPython's `display`, which cells call without importing it."""
    from IPython.display import display

    return display(*objects, **options)


class _Link:
    """The way to the notebook."""

    def __init__(self, descriptor: int, parent: str):
        import socket

        self._socket = socket.socket(fileno=descriptor)
        self._parent = parent
        self._formatter: Any = None

    def definition(self, name: str) -> Any:
        """The object with this name in the notebook. Unpickling looks for it in
        `__main__`."""
        if name.startswith("__"):
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        import socket

        read, write = os.pipe()
        with open(read, "rb") as answer:
            try:
                (packet,) = packets([name], [])
                socket.send_fds(self._socket, [packet], [write])
            finally:
                os.close(write)
            pickled = answer.read()
        if pickled[:1] == b"-":
            raise pickle.UnpicklingError(pickled[1:].decode())
        if not pickled:
            raise AttributeError(f"The notebook has no {name!r}.")
        value = pickle.loads(pickled[1:])
        setattr(sys.modules["__main__"], name, value)
        return value

    def patch_display(self, module: Any) -> None:
        """IPython's `display` goes to the notebook, unless this process has a shell."""
        original = module.display

        def publish(data, metadata=None, *, transient=None, update=False, **_):
            content = {"data": data, "metadata": metadata or {}, "transient": transient or {}}
            self._send("update_display_data" if update else "display_data", content)

        def display(
            *objects,
            include=None,
            exclude=None,
            metadata=None,
            transient=None,
            display_id=None,
            raw=False,
            clear=False,
            **more,
        ):
            if _has_shell():
                options = {"include": include, "exclude": exclude, "metadata": metadata, **more}
                options |= {"transient": transient, "display_id": display_id, "raw": raw}
                return original(*objects, clear=clear, **options)
            if display_id is True:
                display_id = os.urandom(16).hex()
            transient = {**(transient or {}), **({"display_id": display_id} if display_id else {})}
            if clear:
                clear_output(wait=True)
            for value in objects:
                data, own = (value, {}) if raw else self._formats(value, include, exclude)
                if data:
                    publish(data, {**own, **(metadata or {})}, transient=transient, **more)
            return module.DisplayHandle(display_id) if display_id else None

        def clear_output(wait=False):
            self._send("clear_output", {"wait": wait})

        module.publish_display_data, module.display = publish, display
        module.clear_output = clear_output

    def _formats(self, value: Any, include: Any, exclude: Any) -> tuple[dict, dict]:
        from IPython.core.formatters import DisplayFormatter

        if self._formatter is None:
            self._formatter = DisplayFormatter()
        if "matplotlib.figure" in sys.modules:
            from types import SimpleNamespace

            from IPython.core.pylabtools import select_figure_formats

            select_figure_formats(SimpleNamespace(display_formatter=self._formatter), {"png"})
        return self._formatter.format(value, include, exclude)

    def patch_comms(self, module: Any) -> None:
        """Widgets can send to the front ends, but receive nothing."""

        base: Any = module.base_comm.BaseComm

        class Comm(base):
            def publish_msg(comm, msg_type, data=None, metadata=None, buffers=None, **more):
                # A widget stays in the notebook when the process ends.
                if msg_type == "comm_close" and sys.is_finalizing():
                    return
                content = {"data": data or {}, "comm_id": comm.comm_id, **more}
                self._send(msg_type, content, metadata, buffers)

        module.create_comm = Comm

    def _send(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        buffers: list[Any] | None = None,
    ) -> None:
        content_text, metadata_text = (
            json.dumps(part, default=_plain) for part in (content, metadata or {})
        )
        texts = [kind, content_text, self._parent, metadata_text]
        for packet in packets(texts, [*map(bytes, buffers or [])]):
            self._socket.send(packet)


def _has_shell() -> bool:
    module = sys.modules.get("IPython.core.interactiveshell")
    return module is not None and module.InteractiveShell.initialized()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        from base64 import b64encode

        return b64encode(value).decode()
    return value.tolist() if hasattr(value, "tolist") else str(value)


# The kernel sets this name and the two variables (see `spawn_links`).
if __name__ == "slaf.kernel.processes.inside_spawned_process of a process":
    # If it fails, the process goes on without the notebook.
    with contextlib.suppress(Exception):
        given = globals()
        attach(given["descriptor"].detach(), given["parent"])
