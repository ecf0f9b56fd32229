"""A request as IPython takes it: a dict with header, content and metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slaf._slaf import Request


class RequestMessage(dict[str, Any]):
    """The message of a request, in the form of jupyter_client's sessions.

    It can be made from any request. What cannot be read is empty here, and
    `error` says why.
    """

    def __init__(self, request: Request):
        super().__init__(parent_header={}, buffers=request.buffers)
        self.request = request
        self.error: Exception | None = None
        for part in ("header", "content", "metadata"):
            self[part] = self._read(part)
        self["msg_id"] = self["header"].setdefault("msg_id", "")
        self["msg_type"] = self["header"].setdefault("msg_type", request.msg_type)

    def _read(self, part: str) -> dict[str, Any]:
        try:
            value = json.loads(getattr(self.request, part))
            if not isinstance(value, dict):
                kind = type(value).__name__
                raise TypeError(f"The {part} of a message is an object, not {kind}.")
            return value
        # RecursionError: nested too deep. ValueError: also a number of too many digits.
        except (ValueError, TypeError, RecursionError) as error:
            self.error = error
            return {}
