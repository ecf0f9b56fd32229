"""Datasets that several test files only read."""

from __future__ import annotations

import anndata as ad
import duckdb
import numpy as np
import polars as pl
import pytest
from batches import N
from conftest import make_counts, rich
from inside import engine_of
from scipy import sparse
from slaf import SLAFArray
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of


@pytest.fixture(scope="session")
def rich_slaf(tmp_path_factory) -> str:
    """A dataset with something in every section."""
    target = tmp_path_factory.mktemp("rich") / "rich.slaf"
    SLAFConverter().convert_anndata(rich(), target)
    return str(target)


@pytest.fixture(scope="session")
def sql_array(tmp_path_factory) -> SLAFArray:
    """The dataset for SQL tests, with vectors, a layer and a graph."""
    target = tmp_path_factory.mktemp("sql") / "made.slaf"
    adata = make_counts(300, 60, seed=3)
    rng = np.random.default_rng(0)
    adata.obsm["X_pca"] = rng.normal(size=(300, 5)).astype(np.float32)
    adata.varm["PCs"] = rng.normal(size=(60, 4))
    adata.layers["double"] = adata.X * 2
    adata.obsp["near"] = sparse.random(300, 300, 0.02, "csr", random_state=1)
    SLAFConverter().convert_anndata(adata, target)
    return SLAFArray(target)


@pytest.fixture(scope="session")
def sql_plain(sql_array, tmp_path_factory) -> SLAFArray:
    """:func:`sql_array` without the gene-major copy and sums."""
    target = tmp_path_factory.mktemp("sql") / "plain.slaf"
    SLAFConverter().convert(sql_array.slaf_path, target, gene_index=False)
    return SLAFArray(target)


@pytest.fixture(scope="session")
def sql_duck(sql_array):
    """Its tables in DuckDB."""
    connection = duckdb.connect()
    for name in ("cells", "genes", "expression"):
        frame = pl.DataFrame(
            engine_of(sql_array).read(name, list(dataset_of(sql_array).columns[name]))
        )
        # DuckDB raises an error if arithmetic overflows uint16.
        wide = frame.with_columns(pl.col(pl.UInt16, pl.UInt32).cast(pl.Int64))
        connection.register(name, wide.to_arrow())
    return connection


@pytest.fixture(scope="session")
def halved() -> ad.AnnData:
    """Counts, with half of each count as a layer."""
    adata = make_counts()
    adata.layers["half"] = adata.X * 0.5
    adata.obsm["X_pca"] = np.ones((adata.n_obs, 2), np.float32)
    return adata


@pytest.fixture(scope="session")
def halved_array(halved, tmp_path_factory) -> SLAFArray:
    target = tmp_path_factory.mktemp("halved") / "halved.slaf"
    SLAFConverter().convert_anndata(halved, target)
    return SLAFArray(target)


@pytest.fixture(scope="session")
def loader_counts() -> ad.AnnData:
    return make_counts(N, 40, seed=1)


@pytest.fixture(scope="session")
def loader_array(loader_counts, tmp_path_factory) -> SLAFArray:
    target = tmp_path_factory.mktemp("loader") / "x.slaf"
    # Fragments of a few rows, so that blocks cross their borders.
    SLAFConverter(max_rows_per_file=700).convert_anndata(loader_counts, target)
    return SLAFArray(target)
