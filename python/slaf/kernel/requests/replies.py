"""Calls the handler of a request and sends the reply, in every thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from slaf.kernel.messages.errors import error_reply
from slaf.kernel.messages.json_text import dumps
from slaf.kernel.messages.request_message import RequestMessage

if TYPE_CHECKING:
    from slaf._slaf import Kernel, Request

#: Takes a request and its message, and returns the content of the reply. Messages to
#: comms have no reply.
Handler = Callable[["Request", RequestMessage], Coroutine[Any, Any, "dict[str, Any] | None"]]


async def call(
    handler: Handler | None, request: Request, message: RequestMessage
) -> dict[str, Any] | None:
    """The result of `handler`. Raises an error for a message that could not be read,
    and NotImplementedError without a handler."""
    if message.error is not None:
        raise message.error
    if handler is None:
        raise NotImplementedError(f"This kernel does not answer {request.msg_type}.")
    return await handler(request, message)


def send_reply(
    protocol: Kernel,
    request: Request,
    content: dict[str, Any],
    metadata: dict[str, Any] | None = None,
) -> None:
    """Sends the reply to a request; an error if `content` cannot be JSON."""
    try:
        text = dumps(content)
    except Exception as error:
        text = dumps(error_reply(error))
    kind = request.msg_type.replace("_request", "_reply")
    protocol.reply(kind, text, request, dumps(metadata or {}))
