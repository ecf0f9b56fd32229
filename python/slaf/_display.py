"""HTML and text of the handles. Static, and everything from data is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from slaf import _slaf

if TYPE_CHECKING:
    from slaf.array import SLAFArray
    from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix

#: Rows read for a matrix's picture, at most.
SAMPLE = 1024


def array_html(array: SLAFArray) -> str:
    return f"<pre>{escape(array._describe())}</pre>"


def handle_text(handle: LazyAnnData) -> str:
    """AnnData's own layout, with the source it would be read from."""
    cells, genes = handle.shape
    lines = [f"LazyAnnData object with n_obs × n_vars = {cells} × {genes}"]
    for name, keys in _sections(handle):
        if keys:
            lines.append(f"    {name}: {', '.join(repr(k) for k in keys)}")
    return "\n".join(lines)


def handle_html(handle: LazyAnnData) -> str:
    cells, genes = handle.shape
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>"
        + ", ".join(f"<code>{escape(k)}</code>" for k in keys)
        + "</td></tr>"
        for name, keys in _sections(handle)
        if keys
    )
    part = "" if handle._is_whole else "a part of "
    source = handle.slaf.slaf_path if handle.slaf is not None else "several datasets"
    return (
        "<div style='font-size:13px'>"
        f"<b>LazyAnnData</b> {cells:,} cells × {genes:,} genes "
        f"<span style='opacity:.6'>{part}{escape(source)}</span>"
        f"<table>{rows}</table></div>"
    )


def matrix(lazy: LazyExpressionMatrix) -> tuple[str, str]:
    """HTML and text of where a lazy matrix has its values, drawn from at most
    `SAMPLE` of its rows."""
    rows, columns = lazy.shape
    sampled = rows > SAMPLE
    part = lazy[np.linspace(0, rows - 1, SAMPLE).astype(np.int64)] if sampled else lazy
    csr = part.compute()
    nnz = lazy._stored if sampled else csr.nnz
    note = f"lazy, drawn from {SAMPLE:,} of its rows" if sampled else "lazy"
    return _picture(csr, (rows, columns), nnz, note)


def csr_html(csr) -> str:
    return _picture(csr, csr.shape, csr.nnz, "in memory")[0]


def _picture(csr, shape, nnz, note) -> tuple[str, str]:
    return _slaf.picture(
        csr.indptr.astype(np.int64, copy=False),
        csr.indices.astype(np.int32, copy=False),
        csr.shape[1],
        shape,
        nnz,
        str(csr.dtype),
        note,
    )


def _sections(handle: LazyAnnData):
    yield "obs", [str(name) for name in handle.obs.columns]
    yield "var", [str(name) for name in handle.var.columns]
    for name in ("uns", "obsm", "varm", "layers", "obsp", "varp"):
        yield name, [str(k) for k in getattr(handle, name).keys()]
