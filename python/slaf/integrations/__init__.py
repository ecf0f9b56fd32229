"""Datasets as the objects of other libraries."""

from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix, read_slaf

__all__ = ["LazyAnnData", "LazyExpressionMatrix", "read_slaf"]
