"""The content of a display, for :func:`slaf._slaf.draw_card`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from slaf import _slaf

#: Entries of a section that are described. Of the others, as many are named.
DESCRIBED = 100

#: Categories of a column that are named.
_NAMED = 5


def drawn(
    kind: str,
    title: str,
    *,
    place: str = "",
    facts: Mapping[str, str | None] | None = None,
    warnings: Iterable[str] = (),
    sections: Iterable[dict[str, Any]] = (),
    hint: str = "",
) -> tuple[str, str]:
    """HTML and text of a display. Facts that are None or empty are left out."""
    shown = [(name, fact) for name, fact in (facts or {}).items() if fact]
    card = {"kind": kind, "title": title, "place": place, "facts": shown, "hint": hint}
    card |= {"warnings": list(warnings), "sections": list(sections)}
    return _slaf.draw_card(json.dumps(card).encode("utf-8", "replace").decode())


def section(
    name: str,
    note: str,
    entries: Sequence[dict[str, Any]],
    others: Sequence[Any] = (),
    *,
    open: bool = False,
) -> dict[str, Any]:
    """A section with described entries, and the names of others."""
    names = [str(other) for other in others[:DESCRIBED]]
    described = {"name": name, "note": note, "entries": list(entries), "open": open}
    return described | {"others": names, "more": len(others)}


def entry(name: Any, kind: str = "", note: str = "", **more: Any) -> dict[str, Any]:
    """An entry of a section. `more` has any of: its `state`, the `cost` of reading it,
    `values` (each with `name`, `count` and `colour`), the number of rows that have one
    (`total`), `entries` inside, and how many `more` of these there are."""
    return {"name": str(name), "kind": kind, "note": note, **more}


def counted(number: int, what: str) -> str:
    """`1 column`, `2,000 columns`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def shape(cells: int, genes: int) -> str:
    """`1 cell × 2,000 genes`."""
    return f"{counted(cells, 'cell')} × {counted(genes, 'gene')}"


def categories(
    names: list[str], counts: list[int] | None, colours: Sequence[str] | None
) -> dict[str, Any]:
    """The part of an entry that describes categories: the most common ones. `counts` and
    `colours` are in the order of `names`."""
    order = range(len(names))
    if counts is not None:
        order = sorted(order, key=lambda at: (-counts[at], at))
    fits = colours is not None and len(colours) == len(names)
    values = [
        {
            "name": names[at],
            "count": None if counts is None else counts[at],
            "colour": colours[at] if fits else None,
        }
        for at in order[:_NAMED]
    ]
    note = f"{len(names):,} " + ("category" if len(names) == 1 else "categories")
    return {"note": note, "values": values, "total": sum(counts or [0])}


def ends(low: Any, high: Any, missing: int) -> str:
    """The range of numbers, and how many are missing."""
    gaps = [f"{missing:,} missing"] if missing else []
    if low is None:
        return ", ".join(gaps)
    number = lambda x: f"{x:,}" if isinstance(x, (int, np.integer)) else f"{x:.4g}"  # noqa: E731
    there = f"all {number(low)}" if low == high else f"{number(low)} … {number(high)}"
    return ", ".join([there, *gaps])


def palettes(uns: Mapping[str, Any]) -> dict[str, list[str]]:
    """Column → colours of its categories, from `uns["*_colors"]`, as `#rrggbb` or names."""
    found = {}
    for key, value in uns.items():
        if str(key).endswith("_colors") and np.ndim(value) > 0:
            found[str(key).removesuffix("_colors")] = [_colour(one) for one in value]
    return found


def _colour(value: Any) -> str:
    """A colour for CSS. Numbers from 0 to 1 are red, green and blue."""
    if isinstance(value, str):
        return value
    parts = np.asarray(value, dtype=object).ravel()[:3]
    try:
        return "#" + "".join(f"{round(255 * min(max(float(p), 0.0), 1.0)):02x}" for p in parts)
    except (TypeError, ValueError):
        return ""
