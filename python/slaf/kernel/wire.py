"""Messages of IPython's publishers, on their way to the Rust side."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session

if TYPE_CHECKING:
    from slaf._slaf import Kernel


class WireSession(Session):
    """What IPython's publishers take for their session: messages leave through
    the Rust side, which signs them, to all front ends."""

    def __init__(self, protocol: Kernel):
        super().__init__()
        self._protocol = protocol
        self._pid = os.getpid()

    def send(
        self,
        stream,
        msg_or_type,
        content=None,
        parent=None,
        ident=None,
        buffers=None,
        track=False,
        header=None,
        metadata=None,
    ):
        if isinstance(msg_or_type, dict):
            message = msg_or_type
            buffers = buffers or message.get("buffers")
        else:
            message = self.msg(msg_or_type, content, parent, header, metadata)
        if os.getpid() != self._pid:
            # A forked child has none of the threads that would send it.
            return message
        self._protocol.publish(
            message["header"]["msg_type"],
            dumps(message["content"]),
            dumps(message["parent_header"]),
            dumps(message["metadata"]),
            [b if isinstance(b, bytes) else bytes(b) for b in buffers or []],
        )
        return message


def dumps(value: Any) -> str:
    try:
        return json.dumps(value, default=json_default, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # JSON has no NaN: a display that holds one is sent with null.
        return json.dumps(_finite(value), default=json_default, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def error_reply(error: BaseException | None, lines: list[str]) -> dict[str, Any]:
    return {
        "status": "error",
        "ename": type(error).__name__,
        "evalue": str(error),
        "traceback": list(lines),
    }
