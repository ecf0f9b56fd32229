"""Real cells in memory, handles of them (whole, sliced and concatenated), and functions
that compare the two."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import concat, read_slaf
from slaf.lazy import stream


@dataclass
class Twins:
    """The same cells and genes as a handle and as an AnnData."""

    handle: Any
    adata: ad.AnnData

    def both(self, call: Callable[[Any, Any], Any], ours: Any, theirs: Any) -> tuple[Any, Any]:
        """The results of `call(module, data)` for both."""
        return call(ours, self.handle), call(theirs, self.adata)


def real_counts(pbmc: ad.AnnData) -> ad.AnnData:
    """Counts of the cells of `pbmc`, whose raw holds logarithms of normalised ones: the
    smallest value of a cell is one count. obs has columns of every kind."""
    x = sparse.csr_matrix(pbmc.raw.X, dtype=np.float64)
    x.data = np.expm1(x.data)
    for row in range(x.shape[0]):
        values = x.data[x.indptr[row] : x.indptr[row + 1]]
        values /= values.min()
    x.data = np.round(x.data)
    adata = ad.AnnData(x.astype(np.float32), obs=pbmc.obs.copy(), var=pbmc.raw.var.copy())
    rng = np.random.default_rng(0)
    adata.obs["donor"] = np.where(rng.random(700) < 0.1, None, rng.choice(["a", "b", "c"], 700))
    adata.obs["stage"] = pd.Categorical(
        rng.choice(["late", "early"], 700), categories=["never", "late", "early"]
    )
    adata.obs["flag"] = rng.random(700) < 0.3
    adata.obs["part"] = np.where(np.arange(700) % 7 == 0, np.nan, rng.normal(size=700))
    adata.var["symbol"] = [f"S{at}" for at in range(adata.n_vars)]
    adata.var["mt"] = np.arange(adata.n_vars) % 50 == 0
    adata.var["kind"] = pd.Categorical(rng.choice(["x", "y", "z"], adata.n_vars))
    adata.layers["half"] = adata.X * 0.5
    adata.obsm["X_pca"] = pbmc.obsm["X_pca"]
    adata.obsm["X_umap"] = pbmc.obsm["X_umap"]
    return adata


@pytest.fixture(scope="session")
def real(pbmc, tmp_path_factory) -> tuple[Path, ad.AnnData]:
    adata = real_counts(pbmc)
    path = tmp_path_factory.mktemp("real") / "real.slaf"
    SLAFConverter().convert_anndata(adata, path)
    return path, adata


def _sliced(data: Any) -> Any:
    return data[50:650:2, 10:700]


_SHUFFLED = np.random.default_rng(1).permutation(700)
_KINDS = {
    "whole": lambda data, join: data,
    "sliced": lambda data, join: _sliced(data),
    "joined": lambda data, join: join(
        [data[_SHUFFLED[:300]], data[_SHUFFLED[300:650]]], merge="same"
    ),
}


@pytest.fixture(params=_KINDS)
def twins(real, request, monkeypatch) -> Twins:
    """Counts; read in blocks of about 60 cells."""
    monkeypatch.setattr(stream, "BLOCK_VALUES", 20_000)
    monkeypatch.setattr(stream.rows_of_a_block, "__defaults__", (20_000,))
    path, adata = real
    made = _KINDS[request.param]
    return Twins(made(read_slaf(path), concat), made(adata, ad.concat).copy())


@pytest.fixture
def logs(twins) -> Twins:
    """The same, normalised, and as logarithms: pending in the handle."""
    import scanpy as sc
    from slaf.scanpy import pp

    def take_logarithms(module: Any, data: Any) -> None:
        module.normalize_total(data, target_sum=1e4)
        module.log1p(data)

    if twins.handle.is_view:
        twins.handle = twins.handle.copy()
    twins.both(take_logarithms, pp, sc.pp)
    return twins


@pytest.fixture
def quiet() -> Iterator[None]:
    """Hides the warnings of scanpy, anndata and umap about these cells."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="anndata|scanpy|umap")
        yield


def dense(matrix: Any) -> np.ndarray:
    """The values of a lazy, sparse or dense matrix."""
    found = matrix.compute() if hasattr(matrix, "compute") else matrix
    return found.toarray() if sparse.issparse(found) else np.asarray(found)


def same_matrix(twins: Twins, *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Raises if X of the twins differs, or a part of it."""
    ours, theirs = twins.handle.X, dense(twins.adata.X)
    assert ours.dtype == twins.adata.X.dtype
    np.testing.assert_allclose(dense(ours), theirs, rtol=rtol, atol=atol)
    # Selecting before or after reading gives the same part.
    part = dense(twins.handle[5:90:3, [30, 2, 9]].X)
    np.testing.assert_allclose(part, theirs[5:90:3][:, [30, 2, 9]], rtol=rtol, atol=atol)
