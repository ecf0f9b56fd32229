"""Conversions keep everything: h5ad → SLAF → AnnData, value by value."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from checks import assert_same
from conftest import dense, make_counts
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


def test_a_real_file_of_an_old_anndata(pbmc, pbmc_slaf):
    got = read_slaf(pbmc_slaf).to_adata()
    assert_same(got, pbmc)
    np.testing.assert_array_equal(dense(got.raw.X), dense(pbmc.raw.X))
    pd.testing.assert_frame_equal(got.raw.var, pbmc.raw.var)


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int32", "int64", "uint8", "uint16", "uint32", "bool"]
)
def test_every_layout_and_dtype_of_x(counts, convert, layout, dtype):
    x = dense(counts.X).astype(dtype)
    counts.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[layout](x)
    assert_same(read_slaf(convert(counts)).to_adata(), counts)


@pytest.mark.parametrize("value", [0.1, -3.5, 70_000, 2**24 + 1, 2**40, 1e-300, np.inf])
def test_a_late_value_that_is_no_count_is_kept_exactly(convert, value):
    adata = make_counts(cells=9000, genes=12)
    x = adata.X.astype(np.float64).tolil()
    x[8999, 11] = value
    adata.X = x.tocsr()
    got = read_slaf(convert(adata)).to_adata()
    np.testing.assert_array_equal(dense(got.X), dense(adata.X))


def test_explicit_zeros_and_nan_stay(counts, convert):
    counts.X.data[:3] = 0
    counts.X.data[5] = np.nan
    got = read_slaf(convert(counts)).X.compute()
    assert got.nnz == counts.X.nnz
    np.testing.assert_array_equal(got.data, counts.X.data)


def test_all_sections_survive(counts, convert):
    rng = np.random.default_rng(1)
    n, m = counts.shape
    counts.obsm["X_pca"] = rng.normal(size=(n, 5)).astype(np.float32)
    counts.obsm["X_umap"] = rng.normal(size=(n, 2))
    counts.obsm["ids"] = rng.integers(0, 2**50, (n, 2))
    counts.obsm["table"] = pd.DataFrame({"a": range(n), "b": ["x"] * n}, index=counts.obs_names)
    counts.obsm["sparse"] = sparse.random(n, 3, 0.5, "csr", random_state=1)
    counts.varm["PCs"] = rng.normal(size=(m, 3))
    counts.obsp["connectivities"] = sparse.random(n, n, 0.1, "csr", random_state=2)
    counts.obsp["distances"] = sparse.random(n, n, 0.1, "csr", random_state=3, dtype=np.float32)
    counts.obsp["dense"] = rng.normal(size=(n, n))
    counts.varp["links"] = sparse.random(m, m, 0.2, "csr", random_state=4)
    counts.layers["counts"] = counts.X.astype(np.int64)
    counts.layers["scaled"] = rng.normal(size=(n, m)).astype(np.float32)
    counts.uns = {
        "colors": np.array(["#fff", "#000"]),
        "nested": {"deep": {"number": 3, "flag": True, "text": "µ"}, "array": np.arange(4.0)},
        "table": pd.DataFrame({"x": [1, 2]}, index=["a", "b"]),
        "matrix": sparse.csr_matrix(np.eye(3)),
    }
    counts.raw = counts.copy()
    counts = counts[:, 3:30].copy()
    path = convert(counts)
    got = read_slaf(path).to_adata()
    assert_same(got, counts)
    np.testing.assert_array_equal(dense(got.raw.X), dense(counts.raw.X))
    part = read_slaf(path)[::3, [4, 1, 2]].to_adata()
    want = counts[::3, [4, 1, 2]].copy()
    np.testing.assert_array_equal(
        dense(part.obsp["connectivities"]), dense(want.obsp["connectivities"])
    )
    np.testing.assert_array_equal(dense(part.varp["links"]), dense(want.varp["links"]))
    np.testing.assert_array_equal(dense(part.layers["counts"]), dense(want.layers["counts"]))
    np.testing.assert_array_equal(part.obsm["X_umap"], want.obsm["X_umap"])
    pd.testing.assert_frame_equal(part.obsm["table"], want.obsm["table"])
    pd.testing.assert_frame_equal(part.obs, want.obs)


def test_a_slice_is_what_anndata_gives(pbmc, pbmc_slaf):
    """Categories that are left, their colours, and raw."""
    got = read_slaf(pbmc_slaf)[pbmc.obs.louvain.isin(["1", "4"]).to_numpy(), 5:90]
    want = pbmc[pbmc.obs.louvain.isin(["1", "4"]), 5:90].copy()
    assert_same(got.to_adata(), want)
    pd.testing.assert_frame_equal(got.obs, want.obs)
    np.testing.assert_array_equal(dense(got.to_adata().raw.X), dense(want.raw.X))


def test_columns_named_as_the_format_names_its_own(counts, convert):
    counts.obs["cell_id"] = [f"other-{i}" for i in range(counts.n_obs)]
    counts.obs["cell_integer_id"] = 7
    counts.obs["a.b"], counts.obs["a_b"] = 1, 2
    counts.var["gene_id"] = "x"
    counts.obsm["batch"] = np.zeros((counts.n_obs, 2), np.float32)
    assert_same(read_slaf(convert(counts)).to_adata(), counts)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (3, 70_000)])
def test_odd_shapes(convert, shape):
    adata = ad.AnnData(sparse.random(*shape, 0.2, "csr", random_state=0, dtype=np.float32))
    assert_same(read_slaf(convert(adata)).to_adata(), adata)


def test_no_x_at_all(counts, convert):
    counts.X = None
    handle = read_slaf(convert(counts))
    assert handle.X is None
    assert handle.to_adata().X is None


def test_an_anndata_in_memory(counts, tmp_path):
    SLAFConverter().convert_anndata(counts, tmp_path / "memory.slaf")
    assert_same(read_slaf(tmp_path / "memory.slaf").to_adata(), counts)


def test_csr_arrays_are_views_of_the_engines_buffers(pbmc_slaf):
    matrix = read_slaf(pbmc_slaf).X.compute()
    for array in (matrix.data, matrix.indices):
        assert not array.flags.owndata
