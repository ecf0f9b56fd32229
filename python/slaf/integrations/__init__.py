"""Lazy AnnData over datasets, and scanpy's preprocessing of it."""

from slaf.integrations.anndata import (
    LazyAnnData,
    LazyExpressionMatrix,
    concat,
    ensure_h5ad_writable,
    read_slaf,
)
from slaf.integrations.scanpy import pp

__all__ = [
    "LazyAnnData",
    "LazyExpressionMatrix",
    "concat",
    "ensure_h5ad_writable",
    "pp",
    "read_slaf",
]
