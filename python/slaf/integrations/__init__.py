"""Lazy AnnData over datasets, and scanpy's preprocessing on it."""

from slaf.integrations.anndata import LazyAnnData, LazyExpressionMatrix, concat, read_slaf

__all__ = ["LazyAnnData", "LazyExpressionMatrix", "concat", "read_slaf"]
