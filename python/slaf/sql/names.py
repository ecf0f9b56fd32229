"""Finds names in the text of a statement."""

from __future__ import annotations


def quoted(name: str) -> str:
    """`name` as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
