"""What somebody who is typing asks: completion, inspection, whether a cell is
complete, history, open comms."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slaf._slaf import Request
    from slaf.kernel.kernel import SlafKernel

_completer = threading.Lock()


class Questions:
    """Answers from IPython. With `quick`, while a cell computes in another
    thread: names are then looked up, and not inferred."""

    def __init__(self, kernel: SlafKernel, *, quick: bool = False):
        self._kernel, self._quick = kernel, quick

    def handler(self, kind: str) -> Callable[[Request, dict], Coroutine] | None:
        return getattr(self, f"_on_{kind}", None)

    async def _on_complete_request(self, request: Request, message: dict) -> dict[str, Any]:
        content = message["content"]
        completer = self._kernel.shell.Completer
        with _completer, _without_jedi(completer) if self._quick else contextlib.nullcontext():
            return self._kernel.do_complete(content["code"], content.get("cursor_pos"))

    async def _on_inspect_request(self, request: Request, message: dict) -> dict[str, Any]:
        content = message["content"]
        code = content["code"]
        return self._kernel.do_inspect(
            code,
            content.get("cursor_pos", len(code)),
            content.get("detail_level", 0),
            set(content.get("omit_sections", ())),
        )

    async def _on_is_complete_request(self, request: Request, message: dict) -> dict[str, Any]:
        return self._kernel.do_is_complete(message["content"]["code"])

    async def _on_history_request(self, request: Request, message: dict) -> dict[str, Any]:
        return self._kernel.do_history(**{"output": False, "raw": True} | message["content"])

    async def _on_comm_info_request(self, request: Request, message: dict) -> dict[str, Any]:
        target = message["content"].get("target_name")
        comms = {
            key: {"target_name": comm.target_name}
            for key, comm in [*self._kernel.comm_manager.comms.items()]
            if target in (None, comm.target_name)
        }
        return {"status": "ok", "comms": comms}


@contextlib.contextmanager
def _without_jedi(completer):
    used, completer.use_jedi = completer.use_jedi, False
    try:
        yield
    finally:
        completer.use_jedi = used
