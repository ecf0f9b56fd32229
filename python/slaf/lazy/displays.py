"""HTML and text displays of handles. They are static, and everything from data is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from slaf.lazy.state import HandleState


def handle_text(state: HandleState) -> str:
    """AnnData's own layout, with the source it would be read from."""
    cells, genes = state.shape
    lines = [f"LazyAnnData object with n_obs × n_vars = {cells} × {genes}"]
    for name, keys in _sections(state):
        if keys:
            lines.append(f"    {name}: {', '.join(repr(k) for k in keys)}")
    return "\n".join(lines)


def handle_html(state: HandleState) -> str:
    cells, genes = state.shape
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>"
        + ", ".join(f"<code>{escape(k)}</code>" for k in keys)
        + "</td></tr>"
        for name, keys in _sections(state)
        if keys
    )
    part = "" if state.is_whole else "a part of "
    source = state.dataset.path if state.dataset is not None else "several datasets"
    return (
        "<div style='font-size:13px'>"
        f"<b>LazyAnnData</b> {cells:,} cells × {genes:,} genes "
        f"<span style='opacity:.6'>{part}{escape(source)}</span>"
        f"<table>{rows}</table></div>"
    )


def _sections(state: HandleState) -> Iterator[tuple[str, list[str]]]:
    for axis in ("obs", "var"):
        yield axis, [str(name) for name in state.frame(axis).columns]
    for name in ("uns", "obsm", "varm", "layers", "obsp", "varp"):
        yield name, [str(key) for key in state.held(name)]
