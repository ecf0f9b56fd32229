"""Data for all tests: a real dataset from scanpy's wheel, and synthetic ones with special
cases."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from slaf.data import SLAFConverter

# Ray would replace `print`, but numba compiles only Python's own.
os.environ["RAY_TQDM_PATCH_PRINT"] = "0"

pytest.register_assert_rewrite(
    "attackers",
    "checks",
    "cloud_calls",
    "display_checks",
    "inputs_of_tools",
    "kernels",
    "lab_page",
    "slafdb_calls",
    "sql_answers",
)
pytest_plugins = [
    "fixtures_clusters",
    "fixtures_conversions",
    "fixtures_datasets",
    "fixtures_explore",
    "fixtures_kernel",
    "fixtures_lab",
    "fixtures_rust",
    "fixtures_s3",
    "fixtures_scanpy",
    "fixtures_workers",
]


@pytest.fixture(scope="session")
def pbmc_h5ad() -> Path:
    """700 PBMCs from scanpy's package: a file of anndata 0.6, with compound obs and
    var, dense scaled X, a sparse raw, and an obs column `n_genes` that is not the
    number of stored values."""
    return Path(sc.__file__).parent / "datasets" / "10x_pbmc68k_reduced.h5ad"


@pytest.fixture(scope="session")
def pbmc(pbmc_h5ad) -> ad.AnnData:
    return ad.read_h5ad(pbmc_h5ad)


@pytest.fixture(scope="session")
def pbmc_slaf(pbmc_h5ad, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("pbmc") / "pbmc.slaf"
    SLAFConverter().convert(pbmc_h5ad, target)
    return target


def make_counts(cells: int = 60, genes: int = 40, seed: int = 0) -> ad.AnnData:
    """Counts with empty cells and genes, and metadata of every kind."""
    rng = np.random.default_rng(seed)
    x = rng.negative_binomial(1, 0.3, (cells, genes)) * rng.binomial(1, 0.3, (cells, genes))
    x[[3, cells - 1]] = 0
    x[:, 5] = 0
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(rng.choice(["T cells", "B cells", "NK"], cells)),
            "stage": pd.Categorical(
                rng.choice(["late", "early"], cells), categories=["early", "late"], ordered=True
            ),
            "batch": rng.choice(["batch1", "batch2"], cells),
            "total_counts": x.sum(1).astype(float),
            "n_genes": rng.integers(0, 99, cells),
            "doublet": rng.random(cells) < 0.2,
            "score": np.where(rng.random(cells) < 0.2, np.nan, rng.normal(size=cells)),
            "donor": [None if i % 7 == 0 else f"d{i % 3}" for i in range(cells)],
            "age": pd.array([None if i % 5 == 0 else i for i in range(cells)], dtype="Int64"),
            "seen": pd.array(
                [None if i % 4 == 0 else i % 2 == 0 for i in range(cells)], dtype="boolean"
            ),
            "nCount.RNA": rng.integers(0, 2**40, cells),
            "größe µ": rng.normal(size=cells).astype(np.float32),
        },
        index=[f"cell-{i}" for i in range(cells)],
    )
    missing = rng.random(cells) < 0.2
    obs.loc[missing, "cell_type"] = np.nan
    var = pd.DataFrame(
        {"symbol": [f"G{i}" for i in range(genes)], "mt": rng.random(genes) < 0.1},
        index=[f"ENSG{i:05d}" for i in range(genes)],
    )
    return ad.AnnData(sparse.csr_matrix(x.astype(np.float32)), obs=obs, var=var)


def rich(seed: int = 0, cells: int = 60) -> ad.AnnData:
    """:func:`make_counts` with entries in every section."""
    adata = make_counts(cells=cells, seed=seed)
    rng = np.random.default_rng(seed)
    adata.obsm["X_pca"] = rng.normal(size=(cells, 5)).astype(np.float32)
    adata.obsm["spatial"] = pd.DataFrame(
        rng.normal(size=(cells, 2)), columns=["x", "y"], index=adata.obs_names
    )
    adata.varm["PCs"] = rng.normal(size=(40, 5))
    adata.obsp["near"] = sparse.random(cells, cells, 0.1, "csr", random_state=seed)
    adata.varp["alike"] = np.eye(40, dtype=np.float32)
    adata.layers["log"] = adata.X.log1p()
    adata.uns["cell_type_colors"] = np.array(["#000000", "#111111", "#222222"])
    adata.uns["deep"] = {"er": [1, 2]}
    adata.raw = adata
    return adata


def more_cells(seed: int = 1, cells: int = 25) -> ad.AnnData:
    """Other cells of the genes of :func:`make_counts`."""
    adata = make_counts(cells, seed=seed)
    adata.obs_names = [f"more{seed}-{i}" for i in range(cells)]
    return adata


@pytest.fixture
def counts() -> ad.AnnData:
    return make_counts()


@pytest.fixture(scope="session")
def counts_slaf(tmp_path_factory) -> str:
    """A dataset of :func:`counts` that all tests share, and only read."""
    target = tmp_path_factory.mktemp("counts") / "counts.slaf"
    SLAFConverter().convert_anndata(make_counts(), target)
    return str(target)


@pytest.fixture
def convert(tmp_path):
    """Writes an AnnData as h5ad, converts that file, and returns the dataset."""

    def convert(adata: ad.AnnData, name: str = "made") -> Path:
        source, target = tmp_path / f"{name}.h5ad", tmp_path / f"{name}.slaf"
        adata.write_h5ad(source)
        SLAFConverter().convert(source, target)
        return target

    return convert


def dense(matrix) -> np.ndarray:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)
