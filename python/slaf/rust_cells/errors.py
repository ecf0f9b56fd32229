"""Errors of Rust cells. They show the message of rustc or of the cell, and no Python
traceback."""

from __future__ import annotations

from typing import Any

from slaf._slaf import SlafError

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


class _WithoutTraceback(BaseException):
    """Shows its own lines instead of a traceback."""

    def __init__(self, message: str, shown: str = ""):
        super().__init__(message)
        self._shown = shown

    def _render_traceback_(self) -> list[str]:
        """IPython shows these lines."""
        shown = self._shown or f"{_RED}{type(self).__name__}{_PLAIN}: {self}"
        return shown.splitlines()


class RustError(_WithoutTraceback, SlafError):
    """A Rust cell was not compiled, or did not end as it should."""


class RustInterrupt(_WithoutTraceback, KeyboardInterrupt):
    """A Rust cell was interrupted."""


def raise_if_failed(answer: dict[str, Any], stderr: str) -> None:
    """Raises the error that the answer to a request reports, if any. `stderr` is the
    end of what the cell printed there."""
    match answer["status"]:
        case "ok":
            return
        case "interrupted":
            raise RustInterrupt(
                "Interrupted. The cell's process was stopped: Rust variables are lost; functions, "
                "`use` and `:dep` remain."
                if answer.get("lost")
                else "Interrupted. Rust variables are kept."
            )
        case "rejected":
            raise _rejected(answer["errors"])
        case "panicked":
            message = stderr.rpartition("panicked")[2].partition(": ")[2] or stderr
            raise RustError(f"The cell panicked: {message.strip()}")
        case "failed":
            raise RustError(stderr.strip().rpartition("\n")[2] or "The cell ended at a `?`.")
        case "ended":
            raise RustError(_ended(answer["how"], stderr))
        case _:
            raise RustError(_one_message(answer["message"]))


def _rejected(errors: list[dict[str, Any]]) -> RustError:
    """For a cell that was not compiled."""
    first = errors[0] if errors else {"message": "The cell was not compiled."}
    code, line = first.get("code"), first.get("line")
    summary = first["message"] if code is None else f"{code}: {first['message']}"
    if line is not None:
        summary += f" (line {line})"
    parts = []
    for error in errors:
        shown = error.get("shown") or f"{_RED}error{_PLAIN}: {_one_message(error['message'])}"
        hints = [f"help: {text}" for text in error.get("help") or []]
        if error.get("hint"):
            hints.append(error["hint"])
        parts.append("\n".join([shown.rstrip(), *hints]))
    return RustError(_one_message(summary), "\n".join(parts))


def _ended(how: str, stderr: str) -> str:
    """Why the cells' process is gone."""
    after = "Rust variables are lost; functions, `use` and `:dep` remain."
    if "memory allocation of" in stderr:
        return f"The cell asked for more memory than there is. {after}"
    if "overflowed its stack" in stderr:
        return f"The cell's stack overflowed; a recursion may have no end. {after}"
    if "signal: 9" in how:
        return f"The system killed the cell, as it does when memory is short. {after}"
    if "signal" in how:
        return f"The cell crashed ({how}). {after}"
    return f"The cell ended its process ({how}). {after}"


def _one_message(text: str) -> str:
    """A sentence in place of cargo's paragraphs about a `:dep`; else `text`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = "\n".join(lines)
    if "no matching package named" in text or "no matching package found" in text:
        name = text.partition("named `")[2].partition("`")[0]
        name = name or text.partition("searched package name: `")[2].partition("`")[0]
        return f"There is no crate `{name}` on crates.io. Check the spelling."
    unreachable = ("failed to download", "Could not resolve host", "failed to query replaced")
    if any(word in text for word in (*unreachable, "spurious network error", "index.crates.io")):
        return (
            "crates.io cannot be reached, so `:dep` cannot be downloaded. Check the network; "
            "`:offline 1` uses what was downloaded before."
        )
    return text.removeprefix("error: ")
