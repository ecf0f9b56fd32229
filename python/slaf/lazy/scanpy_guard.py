"""Decides what other packages can do with a handle. scanpy's functions on obs, obsm and
graphs work without changes. A function that needs the matrix would read all of it or
fail with an unclear error, so it gets an error that names our function."""

from __future__ import annotations

import sys
from typing import Any

#: scanpy functions that run on handles without reading the whole matrix.
STREAMED = frozenset(
    {
        "aggregate",
        "calculate_qc_metrics",
        "combat",
        "dendrogram",
        "downsample_counts",
        "filter_cells",
        "filter_genes",
        "filter_rank_genes_groups",
        "highly_variable_genes",
        "ingest",
        "log1p",
        "neighbors",
        "normalize_total",
        "pca",
        "rank_genes_groups",
        "regress_out",
        "sample",
        "scale",
        "score_genes",
        "score_genes_cell_cycle",
        "scrublet",
        "sqrt",
        "subsample",
    }
)


def referenced(key: Any) -> Any:
    """The accessor and key of a reference from `anndata.acc`, such as `A.obs["x"]`;
    None for any other key."""
    acc = sys.modules.get("anndata.acc")
    if acc is None:
        return None
    if isinstance(key, acc.AdRef):
        return key.acc, (key.idx,)
    return (key, ()) if isinstance(key, acc.RefAcc) else None


def refuse_scanpy() -> None:
    """Raises if scanpy code requests the matrix.

    Raises
    ------
    TypeError
        The message names scanpy's function, and a line that works.
    """
    called = _scanpy_function(sys._getframe(2))
    if called is not None:
        raise TypeError(advice(called))


def advice(called: str) -> str:
    """What to use instead of `called`, such as "pp.pca"."""
    part, _, name = called.partition(".")
    if name in STREAMED:
        return (
            f"`sc.{called}` reads the whole matrix. `slaf.scanpy.{part}.{name}(handle)` does the "
            "same without."
        )
    return (
        f"`sc.{called}` reads the whole matrix, which a lazy handle does not hold. Read it: "
        f"`adata = handle.to_adata(); sc.{called}(adata)`."
    )


#: scanpy's packages, and their names for users. Plots are not listed, because they read
#: single genes, which works with a handle.
_PARTS = {"preprocessing": "pp", "tools": "tl", "neighbors": "pp", "get": "get"}

#: Functions that read only the part of the matrix that they request.
_SMALL = ("get.obs_df", "get.var_df", "get.rank_genes_groups_df")


def _scanpy_function(frame: Any) -> str | None:
    """The scanpy function that a user called and in which this frame runs, unless we
    called it."""
    found = None
    while frame is not None:
        package, _, rest = frame.f_globals.get("__name__", "").partition(".")
        subpackage = rest.partition(".")[0]
        if package == "scanpy" and subpackage == "plotting":
            return None
        if package == "scanpy" and subpackage in _PARTS:
            found = f"{_PARTS[subpackage]}.{frame.f_code.co_name}"
        elif package not in _BETWEEN:
            break
        frame = frame.f_back
    return None if found in _SMALL else found


#: Packages around scanpy's functions in a traceback.
_BETWEEN = ("scanpy", "anndata", "functools", "legacy_api_wrap", "abc", "sklearn", "numba", "scipy")
