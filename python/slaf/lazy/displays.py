"""HTML and text displays of handles, as AnnData's tree. They read nothing of X, and only
show what is in memory or recorded in the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slaf._slaf import SlafError
from slaf.dataset.displays import version_in_words
from slaf.ground import cards
from slaf.ground.cards import counted
from slaf.ground.sizes import size
from slaf.lazy.plan import MatrixPlan
from slaf.lazy.shown_columns import column_entry
from slaf.lazy.shown_matrices import matrix_cost, matrix_entry, matrix_stored, pending
from slaf.lazy.shown_values import array_entry, value_entry
from slaf.lazy.sources import Held
from slaf.lazy.state import HandleState
from slaf.lazy.unsaved_changes import in_another_form, unsaved

#: Names that the text display lists of a section.
_NAMES = 100


def handle_text(state: HandleState) -> str:
    """AnnData's layout, with the pending steps and the unsaved changes."""
    cells, genes = state.shape
    lines = [f"LazyAnnData object with n_obs × n_vars = {cells} × {genes}"]
    for name, keys in _names(state):
        if keys:
            more = f", … {len(keys) - _NAMES:,} more" if len(keys) > _NAMES else ""
            lines.append(f"    {name}: {', '.join(repr(k) for k in keys[:_NAMES])}{more}")
    if state.x is not None and (steps := pending(state.x)):
        lines.append(f"    pending: {steps}")
    if changes := _unsaved(state):
        lines.append(f"    unsaved: {changes}")
    return "\n".join(lines)


def _names(state: HandleState) -> Iterator[tuple[str, list[str]]]:
    for axis in ("obs", "var"):
        yield axis, [str(name) for name in state.columns(axis).names]
    yield "uns", [str(key) for key in state.known_uns]
    for name in ("obsm", "varm", "layers", "obsp", "varp"):
        yield name, [str(key) for key in state.held(name)]


def handle_html(state: HandleState) -> str:
    html, _ = cards.drawn(
        "LazyAnnData",
        cards.shape(*state.shape),
        place="several datasets" if state.dataset is None else state.dataset.path,
        facts=_facts(state),
        warnings=_warnings(state),
        sections=_sections(state),
    )
    return html


def _facts(state: HandleState) -> dict[str, str | None]:
    x = state.x
    return {
        "X": None if x is None else _matrix(x),
        "pending": None if x is None or not pending(x) else f"{pending(x)}; done when X is read",
        "part of": _part(state),
        "version": None if state.dataset is None else version_in_words(state.dataset),
        "unsaved": _unsaved(state),
    }


def _matrix(matrix: MatrixPlan) -> str:
    cost = matrix_cost(matrix)
    reading = "" if cost is None else f" · {size(cost)} to read"
    there = " · in memory" if isinstance(matrix.source, Held) else reading
    return f"{matrix.dtype}{matrix_stored(matrix)}{there}"


def _part(state: HandleState) -> str | None:
    if state.is_whole or state.dataset is None:
        return None
    kind = "; a view, which is copied when it is written to" if state.is_view else ""
    return f"{cards.shape(*state.dataset.shape)}{kind}"


def _unsaved(state: HandleState) -> str | None:
    found = unsaved(state).items()
    return (
        "; ".join("X" if name == "X" else f"{name}: {_few(keys)}" for name, keys in found) or None
    )


def _few(names: list[str]) -> str:
    more = f", … {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _warnings(state: HandleState) -> list[str]:
    changed_forms = in_another_form(state).items()
    return [f"An export has no place for {where} as it is: {how}." for where, how in changed_forms]


# Sections -----------------------------------------------------------------------


def _sections(state: HandleState) -> Iterator[dict[str, Any]]:
    yield _frame(state, "obs")
    yield _frame(state, "var")
    yield from filter(None, (_arrays(state, "obsm"), _layers(state)))
    if uns := state.known_uns:
        keys = list(uns)
        entries = [value_entry(key, uns[key]) for key in keys[: cards.DESCRIBED]]
        yield cards.section("uns", counted(len(keys), "key"), entries, keys[cards.DESCRIBED :])
    yield from filter(None, (_arrays(state, name) for name in ("varm", "obsp", "varp")))
    if state.content.raw is not None:
        yield _raw(state)


def _frame(state: HandleState, axis: str) -> dict[str, Any]:
    columns = state.columns(axis)
    names = [*columns.names]
    colours, costs = cards.palettes(state.known_uns), _costs(state, axis)
    entries = [
        column_entry(name, columns.known(name), costs.get(name), colours.get(name))
        for name in names[: cards.DESCRIBED]
    ]
    note = counted(len(names), "column")
    if costs:
        note += f", {size(sum(costs.values()))} stored"
    described = names[cards.DESCRIBED :]
    return cards.section(axis, note, entries, described, open=0 < len(names) <= 40)


def _costs(state: HandleState, axis: str) -> dict[str, int]:
    """Column → its stored bytes. For a part of a dataset, its share of them."""
    dataset = state.dataset
    if dataset is None:
        return {}
    at = 0 if axis == "obs" else 1
    part = state.shape[at] / max(1, dataset.shape[at])
    stored = dataset.column_bytes["cells" if at == 0 else "genes"]
    return {
        note["name"]: round(stored.get(note["stored"], 0) * part)
        for note in dataset.column_notes(axis)
    }


def _arrays(state: HandleState, section: str) -> dict[str, Any] | None:
    keys = list(state.held(section))
    described, others = keys[: cards.DESCRIBED], keys[cards.DESCRIBED :]
    entries = [array_entry(state, section, key) for key in described]
    note = counted(len(keys), "key")
    return cards.section(section, note, entries, others, open=section == "obsm") if keys else None


def _layers(state: HandleState) -> dict[str, Any] | None:
    content, keys = state.content, list(state.content.layers)
    described, others = keys[: cards.DESCRIBED], keys[cards.DESCRIBED :]
    entries = [
        matrix_entry(
            key,
            content.layers[key].at(*state.part),
            content.settled.get(key) is content.layers[key],
        )
        for key in described
    ]
    note = counted(len(keys), "key")
    return cards.section("layers", note, entries, others, open=True) if keys else None


def _raw(state: HandleState) -> dict[str, Any]:
    if callable(state.content.raw) and state.dataset is not None and "://" in state.dataset.path:
        # Opening raw takes several requests.
        return cards.section("raw", "stored; opened when it is asked for", [])
    try:
        raw = state.raw
    except (SlafError, OSError) as error:
        return cards.section("raw", f"stored, and cannot be opened: {error}", [])
    entries = [] if raw.x is None else [matrix_entry("X", raw.x, raw.dataset is not None)]
    for part in filter(None, (_frame(raw, "var"), _arrays(raw, "varm"))):
        inside = {"entries": part["entries"], "more": part["more"]}
        entries.append(cards.entry(part["name"], "", part["note"], **inside))
    return cards.section("raw", cards.shape(*raw.shape), entries)
