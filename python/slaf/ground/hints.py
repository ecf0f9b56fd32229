"""Suggestions at the end of an error about an unknown name."""

from __future__ import annotations

from collections.abc import Sequence


def did_you_mean(near: Sequence[str]) -> str:
    """Suggests similar names; empty if there are none."""
    return f" Did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
