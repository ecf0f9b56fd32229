"""The HTML display of a loader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slaf.ground import cards
from slaf.ml.loader_inputs import Part


def loader_html(
    title: str,
    facts: Mapping[str, str | None],
    parts: Sequence[Part],
    labels: Mapping[str, np.ndarray],
    categories: Mapping[str, list[Any]],
) -> str:
    """`labels` has columns of obs by name. A column with categories is given as codes, and
    its names are in `categories`."""
    sections = [cards.section("datasets", f"{len(parts):,}", [*map(_part, parts)], open=True)]
    if labels:
        entries = [_label(name, codes, categories.get(name)) for name, codes in labels.items()]
        sections.append(cards.section("labels", f"{len(labels):,}", entries, open=True))
    hint = "Nothing is read before it is iterated."
    html, _ = cards.drawn("SLAFDataLoader", title, facts=facts, sections=sections, hint=hint)
    return html


def _part(part: Part) -> dict[str, Any]:
    cells, genes = part.dataset.shape
    taken = "" if len(part.rows) == cells else f"{len(part.rows):,} of "
    return cards.entry(part.dataset.path, "", f"{taken}{cells:,} cells × {genes:,} genes")


def _label(name: str, values: np.ndarray, categories: list[Any] | None) -> dict[str, Any]:
    if categories is None:
        return cards.entry(name, str(values.dtype))
    codes = values[values >= 0]
    counts = np.bincount(codes, minlength=len(categories)).tolist()
    return cards.entry(name, "category", **cards.categories([*map(str, categories)], counts, None))
