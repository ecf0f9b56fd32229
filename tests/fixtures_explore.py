"""Cells with embeddings, and an explorer of them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import slaf
from slaf import read_slaf
from slaf.explorer import Explorer


@pytest.fixture
def embedded(counts) -> ad.AnnData:
    """:func:`counts` with a UMAP, in which two cells have no place, and a wider obsm."""
    rng = np.random.default_rng(0)
    counts.obsm["X_umap"] = rng.normal(size=(counts.n_obs, 2)).astype(np.float32)
    counts.obsm["X_umap"][[4, 9], [0, 1]] = np.nan, np.inf
    counts.obsm["X_pca"] = rng.normal(size=(counts.n_obs, 5)).astype(np.float32)
    return counts


@pytest.fixture
def embedded_handle(embedded, convert):
    return read_slaf(convert(embedded))


@pytest.fixture
def explorer(embedded_handle) -> Explorer:
    return slaf.explore(embedded_handle)
