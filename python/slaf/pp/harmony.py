"""Batch correction of embeddings with Harmony."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from slaf.lazy.handle import LazyHandle
from slaf.pp.handles import complete, own, require


def harmony_integrate(
    adata: LazyHandle,
    key: str | Sequence[str],
    *,
    basis: str = "X_pca",
    adjusted_basis: str = "X_pca_harmony",
    **kwargs: Any,
) -> None:
    """Corrects an embedding for batches with harmonypy, like scanpy's
    `external.pp.harmony_integrate`. No matrix is read.

    Parameters
    ----------
    key
        One or several columns of obs with the batches.
    basis
        The key of obsm with the embedding.
    adjusted_basis
        The key of obsm for the corrected embedding, cells × components.
    kwargs
        Options of `harmonypy.run_harmony`.

    Raises
    ------
    KeyError
        There is no such column or embedding.
    ValueError
        A cell has no batch.
    ImportError
        harmonypy is not installed.
    """
    require(adata)
    try:
        from harmonypy import run_harmony
    except ImportError:
        raise ImportError("`pp.harmony_integrate` needs `pip install harmonypy`.") from None
    names = [key] if isinstance(key, str) else list(key)
    for name in names:
        complete(adata, name)
    vectors = np.asarray(adata.obsm[basis], dtype=np.float64)
    found = np.asarray(run_harmony(vectors, adata.obs[names], names, **kwargs).Z_corr)
    own(adata)
    # Before harmonypy 0.2, components were rows.
    adata.obsm[adjusted_basis] = found if found.shape == vectors.shape else found.T
