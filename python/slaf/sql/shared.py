"""Statements whose aggregates over `expression` workers compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slaf import _slaf
from slaf.ground.workers import Workers


def can_share(catalog: tuple) -> bool:
    """Whether workers can see all tables of a statement: those of stored datasets."""
    handles, _, frames, _, lances, _ = catalog
    in_memory = any(engine.uri.startswith("memory:") for _, engine, *_ in handles)
    return not (frames or lances or in_memory)


def run_shared(
    workers: Workers,
    text: str,
    catalog: tuple,
    params: dict[str, Any],
    watch: Callable[[int, int], None] | None = None,
    **options: Any,
) -> _slaf.Answer | None:
    """The answer, for which `workers` compute states of ranges of cells or genes. The
    dataset and the statement alone determine the ranges. None if `text` is no query."""
    shared = _slaf.share_query(text, catalog, params, **options)
    if shared is None:
        return None
    tasks = [_Part(text, catalog, params, options, number) for number in range(shared.parts)]
    for state in workers.map(_state, tasks):
        shared.take(state)
    return shared.run(watch)


@dataclass(frozen=True)
class _Part:
    text: str
    catalog: tuple
    params: dict[str, Any]
    options: dict[str, Any]
    number: int


def _state(part: _Part) -> bytes:
    return _slaf.query_part(part.text, part.catalog, part.params, part.number, **part.options)
