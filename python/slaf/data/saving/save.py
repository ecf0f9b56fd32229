"""Saves how a handle differs from its dataset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slaf import _slaf
from slaf.data.saving.changes import (
    LOG,
    Change,
    of_section,
    raw_changed,
    same_matrix,
    tells_of_another_x,
    x_otherwise,
)
from slaf.data.saving.revision import Revision
from slaf.ground.hints import did_you_mean
from slaf.ground.progress import job
from slaf.lazy.state import HandleState

_SECTIONS = ("obs", "var", "obsm", "varm", "layers", "obsp", "varp", "uns", "raw")


def save(state: HandleState, sections: dict[str, Any]) -> int:
    """See :meth:`slaf.integrations.LazyAnnData.save`."""
    if unknown := sections.keys() - {*_SECTIONS, "X"}:
        raise TypeError(
            f"save() stores {', '.join(_SECTIONS)} and X, and not {', '.join(sorted(unknown))}."
        )
    if not state.is_whole:
        raise ValueError(
            "Only a handle of all cells and genes, in their order, can be saved into its dataset. "
            "Write this one to a dataset of its own: `handle.write_slaf('new.slaf')`, or "
            "`SLAFConverter().convert_handle`."
        )
    state.actualise()
    layer = _layer_of_x(state, sections)
    found = {section: _change(state, section, wanted) for section, wanted in _wanted(sections)}
    content, layers = state.content, dict(state.content.layers)
    try:
        if layer is not None:
            if not same_matrix(layers.get(layer), content.x):
                content.layers[layer] = content.x.named(content.names)
            found["layers"] = _change(state, "layers", [layer]) | found.get("layers", Change())
        if state.dataset.version is not None and not any(found.values()):
            return state.dataset.version
        with job("saving"):
            return Revision(state).of(found)
    except BaseException:
        content.layers = layers
        raise


def save_one(state: HandleState, section: str, key: str | None) -> None:
    """Stores what was just set or deleted: `key`, or (None) the whole section."""
    if section == "uns" and key == LOG and tells_of_another_x(state):
        return
    save(state, {section: True if key is None else [key]})


def _wanted(sections: dict[str, Any]) -> list[tuple[str, Any]]:
    chosen = {name: wanted for name, wanted in sections.items() if name != "X"}
    left_out = [name for name, wanted in chosen.items() if wanted is False or wanted is None]
    if len(left_out) == len(chosen):
        chosen = dict.fromkeys(_SECTIONS, True)
    return [(name, wanted) for name, wanted in chosen.items() if name not in left_out]


def _layer_of_x(state: HandleState, sections: dict[str, Any]) -> str | None:
    """The layer as which X is to be stored.

    Raises
    ------
    SlafError
        Everything is to be saved, X has changed, and `X` does not say what to do with
        it.
    """
    wanted, content = sections.get("X", True), state.content
    if isinstance(wanted, str):
        if content.x is None:
            raise _slaf.SlafError(f"The handle has no X to store as the layer `{wanted}`.")
        return wanted
    how = x_otherwise(state)
    if how is None or wanted is False or wanted is None:
        return None
    explicit = any(wanted not in (False, None) for name, wanted in sections.items() if name != "X")
    if (explicit and "X" not in sections) or any(
        same_matrix(layer, content.x) for layer in content.layers.values()
    ):
        return None
    raise _slaf.SlafError(
        f"X of this handle {how}, and `save()` does not rewrite X. Store it as a layer "
        '(`save(X="lognorm")`), leave it out (`save(X=False)`), or make a dataset of it '
        '(`handle.write_slaf("new.slaf")`).'
    )


def _change(state: HandleState, section: str, wanted: bool | Iterable[str]) -> Change:
    if section == "raw":
        return Change(put=["raw"] if raw_changed(state) else [])
    change = of_section(state, section)
    if wanted is True:
        return change
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    there = list(_names(state, section))
    for name in names:
        if name not in there and name not in change.gone:
            near = did_you_mean(_slaf.nearest(str(name), [str(n) for n in there]))
            raise ValueError(f"{section} has no {name!r} to save.{near}")
    if section == "uns" and LOG in names and tells_of_another_x(state):
        raise _slaf.SlafError(
            f'`uns["{LOG}"]` says that X is log-transformed, but X of the dataset is not that of '
            'this handle. Save X, too: `handle.write_slaf("new.slaf")`.'
        )
    return change.only(names)


def _names(state: HandleState, section: str) -> Iterable[Any]:
    return state.frame(section).columns if section in ("obs", "var") else state.held(section)
