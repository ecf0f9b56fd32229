"""What a spawned process of multiprocessing or loky has of the notebook that
started it: what it displays is seen there, lines that it prints are not torn by
those of others, and names of the notebook mean in it what they mean there.

The kernel sends this file's text to the process, which may not find the package
slaf, and does not wait for it: it needs Python alone.
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

#: Bytes of a packet, which its socket takes as a whole.
PACKET = 48 << 10
#: Child, number of the message, packets that follow.
HEAD = struct.Struct("<IIQ")

_count = itertools.count()


def packets(texts: list[str], buffers: list[bytes]) -> Iterator[bytes]:
    """A message to the kernel's process, in pieces."""
    head = json.dumps([texts, [len(b) for b in buffers]]).encode()
    whole = b"".join([struct.pack("<Q", len(head)), head, *buffers])
    number, count = next(_count), -(-len(whole) // PACKET)
    for at in range(count):
        part = whole[at * PACKET : (at + 1) * PACKET]
        yield HEAD.pack(os.getpid(), number, count - at - 1) + part


def when_imported(name: str, then: Callable[[ModuleType], None]) -> None:
    """Calls `then` with the module `name` as soon as it has been imported."""
    if name in sys.modules:
        then(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, then))


class _Finder:
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


def attach(wire: int, parent: str) -> None:
    """Makes this process one of the notebook's. `wire` leads to the kernel, and
    `parent` is the header of the cell that began this."""
    link = _Link(wire, parent)
    for stream in (sys.stdout, sys.stderr):
        # A line in one piece, also of those who asked for no buffer.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(line_buffering=True, write_through=False)
    when_imported("IPython.core.display_functions", link.displays)
    when_imported("comm", link.comms)
    builtins.display = _display
    sys.modules["__main__"].__getattr__ = link.definition


def _display(*objects: Any, **options: Any) -> Any:
    """IPython's `display`, which every cell knows."""
    from IPython.display import display

    return display(*objects, **options)


class _Link:
    def __init__(self, wire: int, parent: str):
        import socket

        self._socket = socket.socket(fileno=wire)
        self._parent = parent
        self._formatter: Any = None

    def definition(self, name: str) -> Any:
        """What the notebook calls `name`: unpickling looks for it in `__main__`."""
        if name.startswith("__"):
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        import socket

        ear, bell = os.pipe()
        with open(ear, "rb") as answer:
            try:
                (packet,) = packets([name], [])
                socket.send_fds(self._socket, [packet], [bell])
            finally:
                os.close(bell)
            said = answer.read()
        if said[:1] == b"-":
            raise pickle.UnpicklingError(said[1:].decode())
        if not said:
            raise AttributeError(f"The notebook has no {name!r}.")
        value = pickle.loads(said[1:])
        setattr(sys.modules["__main__"], name, value)
        return value

    def displays(self, module: ModuleType) -> None:
        """`display` of IPython goes to the notebook, where there is no shell."""
        stock = module.display

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
                given = {"include": include, "exclude": exclude, "metadata": metadata, **more}
                given |= {"transient": transient, "display_id": display_id, "raw": raw}
                return stock(*objects, clear=clear, **given)
            if display_id is True:
                display_id = os.urandom(16).hex()
            transient = {**(transient or {}), **({"display_id": display_id} if display_id else {})}
            if clear:
                clear_output(wait=True)
            for value in objects:
                told = (value, {}) if raw else self._formats(value, include, exclude)
                if told[0]:
                    all_metadata = {**told[1], **(metadata or {})}
                    publish(told[0], all_metadata, transient=transient, **more)
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

    def comms(self, module: ModuleType) -> None:
        """Widgets speak to the front ends, but do not hear them."""

        class Comm(module.base_comm.BaseComm):
            def publish_msg(comm, msg_type, data=None, metadata=None, buffers=None, **more):
                # The end of the process is not the end of what it shows.
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
        said = [json.dumps(part, default=_plain) for part in (content, metadata or {})]
        for packet in packets([kind, said[0], self._parent, said[1]], [*map(bytes, buffers or [])]):
            self._socket.send(packet)


def _has_shell() -> bool:
    module = sys.modules.get("IPython.core.interactiveshell")
    return module is not None and module.InteractiveShell.initialized()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        from base64 import b64encode

        return b64encode(value).decode()
    return value.tolist() if hasattr(value, "tolist") else str(value)


if __name__ == "slaf.kernel.worker of a process":
    # A process that has no notebook is one, all the same.
    with contextlib.suppress(Exception):
        attach(wire.detach(), parent)  # noqa: F821
