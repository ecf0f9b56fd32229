"""Plots of genes and of principal components, without cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from slaf.lazy.handle import LazyHandle
from slaf.pl.plot_data import Genes, bare
from slaf.pl.with_scanpy import Given, drawn, finish, scanpy


@drawn(scanpy.pl.highly_variable_genes)
def highly_variable_genes(handle: LazyHandle, given: Given) -> Any:
    """Dispersions, or variances, against means. Reads var."""
    if "hvg" not in handle.uns:
        raise KeyError("uns has no 'hvg'; `slaf.scanpy.pp.highly_variable_genes` sets it.")
    return scanpy.pl.highly_variable_genes(bare(handle), **given)


@drawn(scanpy.pl.pca_variance_ratio)
def pca_variance_ratio(handle: LazyHandle, given: Given) -> Any:
    """The fraction of variance of each component. Reads uns."""
    _require_pca(handle)
    return scanpy.pl.pca_variance_ratio(bare(handle), **given)


@drawn(scanpy.pl.pca_loadings)
def pca_loadings(handle: LazyHandle, given: Given) -> Any:
    """The genes with the greatest loadings. Reads the loadings."""
    _require_pca(handle)
    return scanpy.pl.pca_loadings(bare(handle, varm=["PCs"]), **given)


def _require_pca(handle: LazyHandle) -> None:
    if "pca" not in handle.uns:
        raise KeyError("uns has no 'pca'; `slaf.scanpy.pp.pca` sets it.")


@drawn(scanpy.pl.highest_expr_genes)
def highest_expr_genes(handle: LazyHandle, given: Given) -> Any:
    """The genes with the greatest mean fraction of a cell's counts. Streams the matrix
    for the fractions, and then reads only these genes."""
    import seaborn
    from matplotlib import pyplot

    given = dict(given)
    n_top, symbols = given.pop("n_top", 30), given.pop("gene_symbols", None)
    genes = Genes(handle, use_raw=False, symbols=symbols)
    matrix = genes.matrix(given.pop("layer", None))
    totals = np.asarray(matrix.sum(axis=1), dtype=np.float64)
    # If a cell has no counts, all its fractions are 0.
    per_count = 100 / np.where(totals == 0, 1, totals)
    means = np.asarray(per_count @ matrix).ravel()
    top = np.argsort(means)[::-1][:n_top]
    shares = matrix[:, top].toarray() * per_count[:, None]
    names = genes.names[top]
    if genes.symbols is not None:
        names = genes.symbols[top].astype("string")
    ax = given.pop("ax", None)
    if ax is None:
        _, ax = pyplot.subplots(figsize=(5, n_top * 0.2 + 1.5))
    how = {key: given.pop(key, None) for key in ("log", "show", "save")}
    table = pd.DataFrame(shares, columns=names)
    seaborn.boxplot(data=table, orient="h", ax=ax, fliersize=1, **given)
    ax.set_xlabel("% of total counts")
    if how["log"]:
        ax.set_xscale("log")
    return None if finish("highest_expr_genes", how) else ax
