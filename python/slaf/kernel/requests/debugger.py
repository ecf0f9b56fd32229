"""The debugger of JupyterLab's panel: ipykernel's, with an asyncio socket to debugpy
instead of one of ZeroMQ."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

# Otherwise debugpy warns, in each cell that starts it, that breakpoints in Python's
# own frozen modules are missed.
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

from ipykernel import debugger  # noqa: E402
from ipykernel.compiler import get_tmp_directory  # noqa: E402
from IPython.core.getipython import get_ipython  # noqa: E402
from IPython.core.inputtransformer2 import leading_empty_lines  # noqa: E402

from slaf.kernel.cells.ipython_kernel import CellKernel  # noqa: E402
from slaf.kernel.messages.json_text import dumps  # noqa: E402


class Debugger(debugger.Debugger):
    """Answers `debug_request`s, in the control thread's event loop. debugpy listens
    in this process; its adapter is a process of its own.

    The names with an underscore are ipykernel's, whose debugger has no others for it.
    """

    def __init__(self, kernel: CellKernel, main_loop: asyncio.AbstractEventLoop):
        super().__init__(
            kernel.log,
            None,
            kernel._publish_debug_event,
            None,
            kernel.session,
            kernel.kernel_modules,
            kernel.debug_just_my_code,
            kernel.filter_internal_frames,
        )
        self.debugpy_client = _Client(kernel.log, None, self._handle_event)
        self._main_loop = main_loop
        self._stops: asyncio.Task | None = None

    async def process_request(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["command"] == "initialize" and not self.is_started:
            await self._start()
        return await super().process_request(message)

    async def _start(self) -> None:
        Path(get_tmp_directory()).mkdir(mode=0o700, parents=True, exist_ok=True)
        client = self.debugpy_client
        if not self.debugpy_initialized:
            # debugpy expects the main thread. There it runs between cells.
            listening = asyncio.run_coroutine_threadsafe(_listen(), self._main_loop)
            client.debugpy_port = (await asyncio.wrap_future(listening))[1]
            self.debugpy_initialized = True
        await client.connect()
        if self._stops is None:
            self._stops = asyncio.create_task(self._tell_stops())
        # Breakpoints count all lines, so leading empty lines must stay.
        transforms = get_ipython().input_transformer_manager.cleanup_transforms
        if leading_empty_lines in transforms:
            at = transforms.index(leading_empty_lines)
            self._removed_cleanup[at] = transforms.pop(at)
        self.is_started = True

    async def _tell_stops(self) -> None:
        while True:
            await self.handle_stopped_event()


class _Client(debugger.DebugpyClient):
    """ipykernel's, without its ZeroMQ socket."""

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(*self.get_host_port())
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        # Content-Length is in bytes; the base class counts characters.
        while header := await self._reader.readline():
            name, _, value = header.decode("ascii").partition(":")
            if name == "Content-Length":
                await self._reader.readuntil(b"\r\n")
                body = await self._reader.readexactly(int(value))
                self.message_queue._put_message(body)

    def _send_request(self, message: dict[str, Any]) -> None:
        body = dumps(message).encode()
        self._writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def disconnect_tcp_socket(self) -> None:
        self._reading.cancel()
        self._writer.close()
        self.init_event = debugger.Event()
        self.init_event_seq = -1
        self.wait_for_attach = True


async def _listen() -> tuple[str, int]:
    import debugpy

    return debugpy.listen(("127.0.0.1", 0))
