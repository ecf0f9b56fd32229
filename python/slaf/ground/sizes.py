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
        raise ValueError(f"`{text}` is not an amount of memory. Write it as `2 GB`.") from None


def size(number: float) -> str:
    """A number of bytes in a suitable unit, in powers of 1000: `2.1 MB`."""
    units = ["TB", "GB", "MB", "kB", "bytes"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop()
    digits = 0 if units[-1] == "bytes" or number >= 9.95 else 1
    return f"{number:.{digits}f} {units[-1]}"


def share(part: float, of: float) -> str:
    """A percentage such as `12.3 %`. Only nothing is shown as 0 %, and only everything
    as 100 %."""
    if not of:
        return "0 %"
    percent = 100 * part / of
    if 0 < percent < 0.01:
        return "< 0.01 %"
    if part < of and percent >= 99.95:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.3g} %"
