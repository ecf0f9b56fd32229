"""Conversations with a kernel, through jupyter_client. Each wait is for an event; even on
a busy machine it happens within `PATIENCE`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from jupyter_client.manager import KernelManager
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

#: Seconds after which a wait fails: then something hangs.
PATIENCE = 120


class Kernel:
    """A running kernel and its client."""

    def __init__(self, name: str = "slaf", log=None, **options):
        self.manager = KernelManager(kernel_name=name, shutdown_wait_time=PATIENCE)
        self.manager.start_kernel(stderr=log, **options)
        self.connect()

    @property
    def pid(self) -> int:
        return self.manager.provisioner.pid

    @property
    def connection(self) -> dict:
        """The content of the connection file."""
        with open(self.manager.connection_file) as file:
            return json.load(file)

    def connect(self):
        self.client = self.another_client()

    def another_client(self):
        client = self.manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        return client

    def send(self, code: str, **options) -> str:
        return self.client.execute(code, **options)

    def begin(self, code: str, **options) -> str:
        """Sends a cell and waits until it runs; returns its id."""
        request = self.send(f"print('begun')\n{code}", **options)
        self.hear(request, "stream")
        return request

    def request(self, msg_type: str, content: dict, channel: str = "shell", **header) -> str:
        """Sends any request; returns its id."""
        message = self.client.session.msg(msg_type, content)
        message["header"] |= header
        getattr(self.client, f"{channel}_channel").send(message)
        return message["header"]["msg_id"]

    def reply(self, request: str, timeout: float = PATIENCE, channel: str = "shell") -> dict:
        get = getattr(self.client, f"get_{channel}_msg")
        while True:
            message = get(timeout=timeout)
            if message["parent_header"].get("msg_id") == request:
                return message["content"]

    def ask(self, msg_type: str, content: dict, channel: str = "shell", **header) -> dict:
        """Sends any request and returns its reply; its iopub messages are consumed."""
        request = self.request(msg_type, content, channel, **header)
        reply = self.reply(request, channel=channel)
        self.outputs(request)
        return reply

    def hear(self, request: str, msg_type: str) -> dict:
        """The content of the next iopub message of this type for a request."""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            parent = message["parent_header"].get("msg_id")
            if (parent, message["msg_type"]) == (request, msg_type):
                return message["content"]

    def question(self) -> dict:
        """What the kernel asks on stdin."""
        return self.client.get_stdin_msg(timeout=PATIENCE)["content"]

    def outputs(self, request: str, timeout: float = PATIENCE) -> list[dict]:
        """All iopub messages of a request, from busy to idle."""
        messages = []
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != request:
                continue
            messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return messages

    def until(self, request: str, *others: str, timeout: float = PATIENCE) -> dict[str, list[dict]]:
        """All iopub messages of these requests, until `request` is idle."""
        found: dict[str, list[dict]] = {r: [] for r in (request, *others)}
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            parent = message["parent_header"].get("msg_id")
            if parent in found:
                found[parent].append(message)
            if parent == request and message["content"].get("execution_state") == "idle":
                return found

    def run(self, code: str, **options) -> tuple[dict, list[dict]]:
        request = self.send(code, **options)
        reply = self.reply(request)
        return reply, self.outputs(request)

    def text(self, code: str) -> str:
        """The stdout of a cell, which must succeed."""
        reply, outputs = self.run(code)
        assert reply["status"] == "ok", reply
        return stream(outputs)

    def value(self, code: str) -> str:
        reply, outputs = self.run(code)
        assert reply["status"] == "ok", reply
        return only(outputs, "execute_result")["data"]["text/plain"]

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def eventually(condition: Callable[[], object]) -> None:
    """Waits until a condition is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never comes"
        time.sleep(0.02)


def ended(*processes: psutil.Process) -> bool:
    """Waits for the end of all these processes; returns whether they ended."""
    return not psutil.wait_procs(processes, timeout=PATIENCE)[1]


def waits_for(path: Path, pause: str = "time.sleep(0.01)") -> str:
    """Code that continues once a file exists."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): {pause}\n"


def stream(outputs, name="stdout") -> str:
    texts = [
        m["content"]["text"]
        for m in outputs
        if m["msg_type"] == "stream" and m["content"]["name"] == name
    ]
    return "".join(texts)


def displays(outputs) -> list[dict]:
    """Everything that a cell displays, by MIME type."""
    kinds = ("display_data", "execute_result")
    return [m["content"]["data"] for m in outputs if m["msg_type"] in kinds]


def only(outputs, msg_type) -> dict:
    (message,) = [m for m in outputs if m["msg_type"] == msg_type]
    return message["content"]


def of_cells(*cells: str | NotebookNode) -> NotebookNode:
    """A notebook for this kernel; a cell can be given as its code."""
    made = new_notebook(cells=[new_code_cell(c) if isinstance(c, str) else c for c in cells])
    made.metadata["kernelspec"] = {"name": "slaf", "display_name": "SLAF", "language": "python"}
    return made


#: What a peer of ZMTP says first, without keys.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)


def ready(kind: bytes) -> bytes:
    """The READY command of a socket type."""
    body = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    return bytes([4, len(body)]) + body
