"""The text of an exception, even if its own methods fail."""

from __future__ import annotations

import traceback
from typing import Any


def error_reply(error: BaseException | None, lines: list[str] | None = None) -> dict[str, Any]:
    """The content of a reply that reports `error`. `lines` are its traceback, by
    default Python's."""
    return {
        "status": "error",
        "ename": type(error).__name__,
        "evalue": text_of(error),
        "traceback": traceback_of(error) if lines is None else list(lines),
    }


def traceback_of(error: BaseException) -> list[str]:
    """The lines that Python shows; only the last one if they cannot be made."""
    try:
        return "".join(traceback.format_exception(error)).splitlines()
    except Exception:
        return [f"{type(error).__name__}: {text_of(error)}"]


def text_of(error: BaseException | None) -> str:
    """`str(error)`, or why that fails."""
    try:
        return str(error)
    except Exception as failure:
        return f"<its text cannot be made: {type(failure).__name__}>"
