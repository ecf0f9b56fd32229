"""Which request the running code answers. Output belongs to that request."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slaf._slaf import Request

_in_context: contextvars.ContextVar[Request | None] = contextvars.ContextVar("slaf_request")
#: The last request of the main thread.
_latest: Request | None = None
_running_cells: set[Request] = set()


def current() -> Request | None:
    """The request that the calling code answers.

    It is the main thread's latest one for threads of unknown origin, and for
    threads whose own cell has ended while another one runs.
    """
    request = _in_context.get(_latest)
    return request if request in _running_cells or _latest not in _running_cells else _latest


def set_in_context(request: Request | None) -> contextvars.Token:
    """From here on, output of this context belongs to `request`."""
    return _in_context.set(request)


def reset_in_context(token: contextvars.Token) -> None:
    """Undoes `set_in_context`, which gave `token`."""
    _in_context.reset(token)


def set_everywhere(request: Request | None) -> None:
    """As `set_in_context`, and also for threads of unknown origin."""
    global _latest
    _latest = request
    _in_context.set(request)


def cell_began(request: Request) -> None:
    _running_cells.add(request)


def cell_ended(request: Request) -> None:
    _running_cells.discard(request)


def running_cell() -> Request | None:
    """The main thread's latest request, if it is a cell that still runs."""
    return _latest if _latest in _running_cells else None
