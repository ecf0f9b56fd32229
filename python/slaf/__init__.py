"""Query single-cell datasets in place.

>>> from slaf import SLAFArray
>>> pbmc = SLAFArray("pbmc.slaf")                          # doctest: +SKIP
>>> pbmc.query("SELECT louvain, COUNT(*) FROM cells GROUP BY louvain")  # doctest: +SKIP

`slaf.integrations.read_slaf` opens the same dataset as a lazy AnnData.
`slaf.data.SLAFConverter` makes a dataset from an h5ad file. `%load_ext slaf` adds
`%%sql` to any IPython."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf._slaf import SlafError, __version__

if TYPE_CHECKING:
    from slaf.array import SLAFArray
    from slaf.integrations import concat, read_slaf

__all__ = [
    "SLAFArray",
    "SlafError",
    "__version__",
    "concat",
    "explore",
    "get_converter",
    "get_integrations",
    "get_ml_components",
    "load_ipython_extension",
    "notebook_path",
    "read_slaf",
    "scan",
    "sink",
    "table",
]


def __getattr__(name: str) -> Any:
    # Importing numpy, pandas and Polars takes a second; the kernel answers before that.
    if name == "SLAFArray":
        from slaf.array import SLAFArray

        return SLAFArray
    if name in ("concat", "read_slaf"):
        from slaf import integrations

        return getattr(integrations, name)
    if name == "explore":
        from slaf.explorer import Explorer

        return Explorer
    if name == "notebook_path":
        from slaf.kernel.notebook_path import notebook_path

        return notebook_path
    if name == "scan":
        from slaf.data.lazy_frames import scan

        return scan
    if name == "sink":
        from slaf.data.lazy_frames import sink

        return sink
    if name == "table":
        from slaf.table_view import table

        return table
    if name in ("distributed", "get", "ml", "pl", "ray", "tl"):
        from importlib import import_module

        return import_module(f"slaf.{name}")
    raise AttributeError(f"module 'slaf' has no attribute {name!r}")


def get_converter():
    """The class `slaf.data.SLAFConverter`."""
    from slaf.data import SLAFConverter

    return SLAFConverter


def get_integrations():
    """`(LazyAnnData, LazyExpressionMatrix, pp)`."""
    from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix
    from slaf.integrations.scanpy import pp

    return LazyAnnData, LazyExpressionMatrix, pp


def get_ml_components():
    """`(SLAFDataLoader, SLAFTokenizer, TokenizerType, create_shuffle)`."""
    from slaf.ml import SLAFDataLoader, SLAFTokenizer, TokenizerType, create_shuffle

    return SLAFDataLoader, SLAFTokenizer, TokenizerType, create_shuffle


def load_ipython_extension(shell) -> None:
    """`%load_ext slaf`: the `%%sql` magic and the displays."""
    from slaf.notebook import magics

    magics.load(shell)
