"""Synthetic cells have the documented statistics, and a file of them contains the same."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from slaf.data import synthetic as datasets
from slaf.datasets import synthetic, write_synthetic


def assert_equal(got: ad.AnnData, want: ad.AnnData) -> None:
    for part in ("data", "indices", "indptr"):
        ours, theirs = getattr(got.X, part), getattr(want.X, part)
        assert ours.dtype == theirs.dtype, part
        np.testing.assert_array_equal(ours, theirs, err_msg=part)
    assert got.shape == want.shape
    pd.testing.assert_frame_equal(got.obs, want.obs)
    pd.testing.assert_frame_equal(got.var, want.var)
    assert set(got.obsm) == set(want.obsm)
    for key in want.obsm:
        assert got.obsm[key].dtype == want.obsm[key].dtype
        np.testing.assert_array_equal(got.obsm[key], want.obsm[key])


@pytest.fixture(scope="module")
def made() -> ad.AnnData:
    return synthetic(3000, 2000, seed=1)


def test_what_is_in_it(made):
    x = made.X
    assert sparse.isspmatrix_csr(x) and x.dtype == np.float32
    assert x.indices.dtype == x.indptr.dtype == np.int32
    fresh = sparse.csr_matrix((x.data, x.indices, x.indptr), shape=x.shape)
    assert fresh.has_canonical_format
    assert (x.data >= 1).all() and (x.data == np.round(x.data)).all()
    assert made.obs_names.is_unique and made.var_names.is_unique
    assert made.var["gene_ids"].is_unique and made.var["gene_ids"].str.match(r"ENSG\d{11}$").all()
    assert made.var_names.str.startswith("MT-").sum() == 13
    assert made.var_names.str.match("RP[LS]").sum() == 20
    assert made.obs["cell_type"].nunique() == 12 and made.obs["batch"].nunique() == 4
    assert made.obs["donor"].nunique() == 8
    assert {k: (v.shape[1], v.dtype) for k, v in made.obsm.items() if k is not None} == {
        "X_pca": (50, np.float32),
        "X_umap": (2, np.float32),
    }


def test_the_columns_are_those_of_x(made):
    total = np.asarray(made.X.sum(1)).ravel()
    mt = np.asarray(made.X[:, made.var_names.str.startswith("MT-")].sum(1)).ravel()
    np.testing.assert_array_equal(made.obs["total_counts"], total)
    np.testing.assert_array_equal(made.obs["n_genes"], np.diff(made.X.indptr))
    np.testing.assert_allclose(made.obs["pct_mt"], 100 * mt / total, rtol=1e-6)


@pytest.mark.parametrize("genes", [500, 2000, 25_000])
def test_density_depth_and_mitochondria_are_the_fitted(genes):
    cells = synthetic(2000, genes)
    assert 0.04 < cells.X.nnz / np.prod(cells.shape) < 0.06
    depth = np.log(cells.obs["total_counts"])
    # Few genes leave few counts, whose sampling adds its variance.
    assert depth.std() == pytest.approx(datasets._DEPTH_SD, abs=0.05 if genes > 500 else 0.15)
    assert 3 < cells.obs["pct_mt"].mean() < 7
    means = np.asarray(cells.X.mean(0)).ravel()
    assert datasets._UNDETECTED <= (means == 0).mean() < 0.45
    # The upper component of the fit, which sampling does not cut off.
    upper = np.log(means[means > np.quantile(means, 0.7)] / datasets._SCALE)
    assert upper.mean() == pytest.approx(-1.0, abs=0.6)


def test_counts_are_negative_binomial():
    """Mean μ and variance μ + φμ², at several depths."""
    rng = np.random.default_rng(0)
    means, dispersion = np.array([0.05, 0.5, 3.0, 40.0]), np.array([2.0, 0.1, 1.0, 0.3])
    depth = np.repeat([0.5, 2.0], 40_000)
    cell, gene, size = datasets._clusters(rng, means, dispersion, depth)
    counts = sparse.coo_matrix((size, (cell, gene)), shape=(len(depth), 4)).toarray()
    for half, factor in ((counts[:40_000], 0.5), (counts[40_000:], 2.0)):
        mu = factor * means
        np.testing.assert_allclose(half.mean(0), mu, rtol=0.05)
        np.testing.assert_allclose(half.var(0), mu + dispersion * mu**2, rtol=0.1)
        zeros = (1 + dispersion * mu) ** (-1 / dispersion)
        np.testing.assert_allclose((half == 0).mean(0), zeros, atol=0.01)


def test_types_have_markers_and_batches_an_effect(made):
    def log_means(column):
        groups = [
            made.X[np.flatnonzero(made.obs[column] == g)] for g in sorted(set(made.obs[column]))
        ]
        scaled = [np.asarray(g.sum(0)).ravel() / g.sum() * 1e4 for g in groups]
        return np.log1p(scaled)

    types, batches = log_means("cell_type"), log_means("batch")
    assert ((types - np.median(types, 0)) > 1).sum(1).min() >= 3
    assert 0.01 < batches.std(0).mean() < types.std(0).mean()


def test_the_seed_decides_and_more_cells_only_add(made):
    assert_equal(synthetic(3000, 2000, seed=1), made)
    assert_equal(synthetic(2500, 2000, seed=1), made[:2500].copy())
    assert (synthetic(100, 2000, seed=2).X != made[:100].X).nnz


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_file_is_what_anndata_would_have_written(made, tmp_path, compression):
    ours, theirs = tmp_path / "ours.h5ad", tmp_path / "theirs.h5ad"
    write_synthetic(ours, 3000, 2000, seed=1, compression=compression)
    assert [p.name for p in tmp_path.iterdir()] == ["ours.h5ad"]
    assert_equal(ad.read_h5ad(ours), made)
    made.copy().write_h5ad(theirs, compression=compression)

    def layout(path):
        items = {}
        with h5py.File(path) as file:
            items["/"] = dict(file.attrs)
            file.visititems(lambda name, item: items.__setitem__(name, note(item)))
        return {k: v for k, v in items.items() if not k.startswith("obs/donor")}

    def note(item):
        notes = {key: str(value) for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            # The chunk goes by the expected length, anndata's by the true one.
            chunked = item.chunks is not None
            notes |= {"shape": item.shape, "dtype": item.dtype, "chunked": chunked}
            notes |= {"gzip": item.compression_opts, "maxshape": item.maxshape}
        return notes

    assert layout(ours) == layout(theirs)


def test_types_and_batches_as_asked(tmp_path):
    write_synthetic(tmp_path / "a.h5ad", 300, 50, n_types=1, n_batches=1)
    got = ad.read_h5ad(tmp_path / "a.h5ad")
    assert_equal(got, synthetic(300, 50, n_types=1, n_batches=1))
    assert set(got.obs["cell_type"]) == {"type01"} and set(got.obs["batch"]) == {"batch01"}


@pytest.mark.parametrize(
    "sizes", [(0, 100, 1, 1), (10, 49, 1, 1), (10, 100, 0, 1), (10, 100, 1, 0)]
)
def test_too_small_is_refused(sizes, tmp_path):
    cells, genes, types, batches = sizes
    with pytest.raises(ValueError):
        synthetic(cells, genes, n_types=types, n_batches=batches)
    with pytest.raises(ValueError):
        write_synthetic(tmp_path / "x.h5ad", cells, genes, n_types=types, n_batches=batches)
    assert not list(tmp_path.iterdir())
