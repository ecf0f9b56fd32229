"""Tracebacks of our errors end at the user's line."""

from __future__ import annotations

import dis
from types import TracebackType
from typing import Any

from slaf._slaf import SlafError

_RAISE = dis.opmap["RAISE_VARARGS"]


def load(shell: Any) -> None:
    """Leaves our frames out of the tracebacks of our errors, except in `%xmode
    Verbose`. `%debug` still has them."""
    formatter = shell.InteractiveTB
    whole = type(formatter).structured_traceback

    def structured_traceback(etype=None, evalue=None, etb=None, *arguments, **options):
        if formatter.mode != "Verbose" and isinstance(evalue, BaseException):
            etb = shortened(evalue, etb)
        return whole(formatter, etype, evalue, etb, *arguments, **options)

    formatter.structured_traceback = structured_traceback


def shortened(error: BaseException, trace: TracebackType | None) -> TracebackType | None:
    """The traceback without our frames at its end, if the error is a message for the
    user. Errors caused by our own mistakes keep all frames."""
    parts = []
    while trace is not None:
        parts.append(trace)
        trace = trace.tb_next
    end = len(parts)
    while end > 0 and _is_ours(parts[end - 1]):
        end -= 1
    # The first part is IPython's, which runs the cell.
    if end < 2 or end == len(parts) or not _is_meant(error, parts[-1]):
        end = len(parts)
    short = None
    for part in reversed(parts[:end]):
        short = TracebackType(short, part.tb_frame, part.tb_lasti, part.tb_lineno)
    return short


def _is_ours(part: TracebackType) -> bool:
    return part.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "slaf"


def _is_meant(error: BaseException, last: TracebackType) -> bool:
    """Whether the error is a message for the user. Those of the engine come from a call."""
    code = last.tb_frame.f_code.co_code
    return isinstance(error, (SlafError, OSError)) or code[last.tb_lasti] == _RAISE
