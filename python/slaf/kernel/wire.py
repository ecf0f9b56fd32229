"""Messages of IPython's publishers, on their way to the Rust side."""

from __future__ import annotations

import enum
import json
import math
import numbers
import os
import re
import traceback
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session

from slaf.kernel import streams
from slaf.kernel.children import Children
from slaf.kernel.workers import follow_workers, give_definition

if TYPE_CHECKING:
    from slaf._slaf import Kernel


class WireSession(Session):
    """What IPython's publishers take for their session: messages leave through
    the Rust side, which signs them, to all front ends."""

    def __init__(self, protocol: Kernel):
        super().__init__()
        self._protocol = protocol
        self._pid = os.getpid()
        self.children = Children(self._publish_of_child, give_definition)
        follow_workers(self.children.wire)

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
        kind = message["header"]["msg_type"]
        said = [dumps(message[part]) for part in ("content", "parent_header", "metadata")]
        plain = [b if isinstance(b, bytes) else bytes(b) for b in buffers or []]
        if os.getpid() == self._pid:
            if kind in _SHOWN and (request := streams.current()) is not None:
                # A thread of an earlier cell, perhaps: as what it prints.
                said[1] = request.header
            self._protocol.publish(kind, *said, plain)
        else:
            self.children.send([kind, *said], plain)
        return message

    def _publish_of_child(self, said: list[str], buffers: list[bytes]) -> None:
        kind, content, parent, metadata = said
        # A pool's worker was forked by an earlier cell, perhaps.
        running = streams.running()
        parent = parent if running is None else running.header
        self._protocol.publish(kind, content, parent, metadata, buffers)


def dumps(value: Any) -> str:
    """JSON of what IPython and libraries send, that any front end can read.

    Raises ValueError if there is something in it that JSON cannot say.
    """
    try:
        text = json.dumps(value, default=json_default, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        text = json.dumps(_cleaned(value), ensure_ascii=False)
    return said(text)


def said(text: str) -> str:
    """`text` without halves of characters, which UTF-8 does not know: names of
    files that are not UTF-8 have them."""
    return text if text.isascii() else _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)


#: Messages that are part of a cell's output.
_SHOWN = {"display_data", "update_display_data", "clear_output"}

_HALVES = re.compile("[\ud800-\udfff]")


def _cleaned(value: Any, depth: int = 0) -> Any:
    """`value` of JSON's own types: keys are texts, NaN is null."""
    if depth > _DEEP:
        raise ValueError("This is nested too deep for a message, or holds itself.")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {
            k if isinstance(k, str) else _key(k): _cleaned(v, depth + 1) for k, v in value.items()
        }
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, (date, bytes)):
        return json_default(value)
    if isinstance(value, enum.Enum):
        return _cleaned(value.value, depth + 1)
    if hasattr(value, "tolist"):  # numpy's
        return _cleaned(value.tolist(), depth + 1)
    if isinstance(value, Iterable):
        return [_cleaned(v, depth + 1) for v in value]
    raise ValueError(f"A message cannot hold a {type(value).__name__}.")


#: Containers inside each other; json itself gives up at Python's limit.
_DEEP = 200


def _key(key: Any) -> str:
    plain = key is None or isinstance(key, (bool, int, float))
    return next(iter(json.loads(json.dumps({key: 0})))) if plain else str(key)


def error_reply(error: BaseException | None, lines: list[str] | None = None) -> dict[str, Any]:
    """The content of a reply; `lines` of a traceback are by default Python's."""
    return {
        "status": "error",
        "ename": type(error).__name__,
        "evalue": text_of(error),
        "traceback": traceback_of(error) if lines is None else list(lines),
    }


def traceback_of(error: BaseException) -> list[str]:
    """Lines as Python shows them, even if the error cannot be said."""
    try:
        return "".join(traceback.format_exception(error)).splitlines()
    except Exception:
        return [f"{type(error).__name__}: {text_of(error)}"]


def text_of(error: BaseException | None) -> str:
    """What an error says, even if it cannot be said."""
    try:
        return str(error)
    except Exception as failure:
        return f"<its text cannot be made: {type(failure).__name__}>"
