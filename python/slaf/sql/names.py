"""Finds names in the text of a statement."""

from __future__ import annotations


def quoted(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
