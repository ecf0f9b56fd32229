"""Amounts of memory in the form in which people write them."""

from __future__ import annotations


def bytes_of(text: str) -> int:
    """`2 GB` as a number of bytes."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number = text.strip().rstrip("BKMGTibkmgt ")
    unit = text.strip()[len(number) :].strip().upper().replace("I", "")
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError):
        raise ValueError(f"`{text}` is no amount of memory. Write it as `2 GB`.") from None
