"""Completion in cells of our languages, in addition to IPython's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: The start and end of the completed text in the cell, and each candidate with its
#: kind.
Candidates = tuple[int, int, list[tuple[str, str]]]
#: Returns candidates at a cursor in a cell; None if the cell has another language.
Ask = Callable[[str, int], Candidates | None]


def register(shell: Any, identifier: str, ask: Ask) -> None:
    """Registers `ask` as a completer, in place of the one before."""
    from IPython.core.completer import context_matcher

    if not hasattr(shell, "Completer"):
        return
    matcher = lambda context: _matches(ask, context)  # noqa: E731
    matcher.__qualname__ = identifier
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != identifier]
    matchers.append(context_matcher(identifier=identifier)(matcher))


def _matches(ask: Ask, context: Any) -> dict[str, Any]:
    from IPython.core.completer import SimpleCompletion

    text = context.full_text
    lines = text.split("\n")[: context.cursor_line]
    cursor = sum(len(line) + 1 for line in lines) + context.cursor_position
    found = ask(text, cursor)
    if found is None:
        return {"completions": [], "suppress": False}
    start, end, candidates = found
    return {
        "completions": [SimpleCompletion(name, type=kind) for name, kind in candidates],
        "matched_fragment": text[start:end],
        "ordered": True,
        "suppress": True,
    }
