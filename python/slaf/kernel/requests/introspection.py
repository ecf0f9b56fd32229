"""Completion, inspection, whether a cell is complete, history and open comms."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from slaf.kernel.cells.ipython_kernel import CellKernel
from slaf.kernel.requests.replies import Handler

if TYPE_CHECKING:
    from IPython.core.completer import IPCompleter

    from slaf._slaf import Request

_completer_lock = threading.Lock()


class Introspection:
    """Answers with IPython. With `while_busy`, a cell computes in another thread:
    jedi is then not used, and completion only looks up the names there are."""

    def __init__(self, kernel: CellKernel, *, while_busy: bool = False):
        self._kernel, self._while_busy = kernel, while_busy

    def handler(self, kind: str) -> Handler | None:
        """The handler of requests of this kind; `None` if this class has none."""
        return getattr(self, f"_on_{kind}", None)

    async def _on_complete_request(self, request: Request, message: dict) -> dict[str, Any]:
        content = message["content"]
        completer = self._kernel.shell.Completer
        without = _without_jedi(completer) if self._while_busy else contextlib.nullcontext()
        with _completer_lock, without:
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
def _without_jedi(completer: IPCompleter) -> Iterator[None]:
    used, completer.use_jedi = completer.use_jedi, False
    try:
        yield
    finally:
        completer.use_jedi = used
