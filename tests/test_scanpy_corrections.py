"""Regression, scaling and the correction of batches: as scanpy has them in memory."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from fixtures_scanpy import dense, same_matrix
from slaf.integrations import read_slaf
from slaf.integrations.scanpy import clear_transformations
from slaf.scanpy import pp

pytestmark = pytest.mark.usefixtures("quiet")


# Least squares ----------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [["n_counts", "percent_mito"], "n_genes", ["flag", "n_counts"], "stage", "bulk_labels"],
    ids=str,
)
def test_regress_out(logs, keys):
    if isinstance(keys, list) and "flag" in keys:
        # scanpy fails on columns that are not numbers.
        logs.adata.obs["flag"] = logs.adata.obs["flag"].astype(float)
    logs.both(lambda module, data: module.regress_out(data, keys), pp, sc.pp)
    assert logs.handle.X.pending == ("normalize_total", "log1p", "regress_out")
    same_matrix(logs)


def test_regress_out_of_counts_of_a_layer(real):
    path, adata = real
    handle, adata = read_slaf(path), adata.copy()
    adata.layers["int"] = adata.X.astype(np.int32)
    handle.layers["int"] = adata.layers["int"]
    sc.pp.regress_out(adata, ["n_counts"], layer="int")
    copy = pp.regress_out(handle, ["n_counts"], layer="int", copy=True)
    assert copy.layers["int"].dtype == adata.layers["int"].dtype
    np.testing.assert_allclose(dense(copy.layers["int"]), adata.layers["int"], rtol=1e-4, atol=1e-4)
    assert handle.layers["int"].pending == ()


def test_regress_out_columns_that_tell_the_same(logs):
    """Of a column twice, scanpy's inverse is made of rounding errors."""
    once, twice = (
        pp.regress_out(logs.handle, keys, copy=True) for keys in ("n_genes", ["n_genes"] * 2)
    )
    logs.handle.obs["double"] = logs.handle.obs["n_genes"] * 2 + 5
    thrice = pp.regress_out(logs.handle, ["n_genes", "double"], copy=True)
    for other in (twice, thrice):
        np.testing.assert_allclose(dense(other.X), dense(once.X), atol=1e-5)


def test_the_steps_of_the_tutorial_after_one_another(logs):
    def tutorial(module, data):
        module.regress_out(data, ["n_counts", "percent_mito"])
        module.scale(data, max_value=3)
        module.pca(data, n_comps=5, svd_solver="covariance" if module is pp else "arpack")

    logs.both(tutorial, pp, sc.pp)
    same_matrix(logs, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        np.abs(logs.handle.obsm["X_pca"]), np.abs(logs.adata.obsm["X_pca"]), rtol=2e-2, atol=2e-2
    )
    assert dense(logs.handle.X).max() <= 3
    clear_transformations(logs.handle, inplace=True)
    assert (dense(logs.handle.X) % 1 == 0).all()


@pytest.mark.parametrize(
    ("keys", "error", "told"),
    [
        ("part", ValueError, r"obs\['part'\] has no value for 100 of 700 cells"),
        ("donor", ValueError, r"obs\['donor'\] has no value for"),
        (["n_counts", "stage"], ValueError, "must be the only key, and 'stage'"),
        ([], ValueError, "names no column"),
        ("n_count", KeyError, "n_count.*Did you mean.*n_counts"),
    ],
)
def test_what_cannot_be_regressed_out(real, keys, error, told):
    with pytest.raises(error, match=told):
        pp.regress_out(read_slaf(real[0]), keys)


@pytest.mark.parametrize("mask_obs", [None, "flag"])
@pytest.mark.parametrize("max_value", [None, 0.5, 3])
@pytest.mark.parametrize("zero_center", [True, False])
def test_scale(logs, zero_center, max_value, mask_obs):
    options = {"zero_center": zero_center, "max_value": max_value, "mask_obs": mask_obs}
    logs.both(lambda module, data: module.scale(data, **options), pp, sc.pp)
    # scanpy makes float64 of float32, unless there is a mask.
    logs.adata.X = dense(logs.adata.X).astype(np.float32)
    same_matrix(logs)
    suffix = "" if mask_obs is None else " of flag"
    for name in (f"mean{suffix}", f"std{suffix}"):
        np.testing.assert_allclose(logs.handle.var[name], logs.adata.var[name], rtol=1e-4)


def test_square_roots(logs):
    logs.both(lambda module, data: module.sqrt(data), pp, sc.pp)
    same_matrix(logs)
    assert pp.sqrt(logs.handle, copy=True).X.pending[-1] == "sqrt"


# Batches ----------------------------------------------------------------------


@pytest.mark.parametrize("covariates", [None, ["n_counts"], ["n_counts", "percent_mito"]], ids=str)
def test_combat(logs, covariates):
    options = {"key": "louvain", "covariates": covariates}
    ours = pp.combat(logs.handle, inplace=False, **options)
    theirs = sc.pp.combat(logs.adata, inplace=False, **options)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(dense(ours), theirs, rtol=1e-4, atol=1e-5)
    logs.both(lambda module, data: module.combat(data, **options), pp, sc.pp)
    same_matrix(logs)
    assert "combat" in logs.handle.X.pending


def test_combat_with_categories(logs):
    """scanpy's design of categories is singular; that of their columns is not, and tells
    the same."""
    logs.adata.obs["early"] = (logs.adata.obs["stage"] == "early").astype(float)
    theirs = sc.pp.combat(logs.adata, "phase", covariates=["early", "n_counts"], inplace=False)
    ours = pp.combat(logs.handle, "phase", covariates=["stage", "n_counts"], inplace=False)
    np.testing.assert_allclose(dense(ours), theirs, rtol=1e-4, atol=1e-5)


def test_batches_that_cannot_be_corrected(real):
    handle = read_slaf(real[0])
    with pytest.raises(KeyError, match="phases.*Did you mean.*phase"):
        pp.combat(handle, "phases")
    with pytest.raises(ValueError, match=r"obs\['donor'\] has no value for"):
        pp.combat(handle, "donor")
    with pytest.raises(ValueError, match="covariates.*other columns"):
        pp.combat(handle, "phase", covariates=["phase"])
    handle.obs["same"] = handle.obs["phase"].astype(str) + "x"
    with pytest.raises(ValueError, match="are linearly dependent"):
        pp.combat(handle, "phase", covariates=["same"])
    handle.obs["one"] = ["single", *["rest"] * 699]
    with pytest.raises(ValueError, match=r"'single' of obs\['one'\] has fewer"):
        pp.combat(handle, "one")


def test_harmony(twins):
    harmonypy = pytest.importorskip("harmonypy")
    pp.harmony_integrate(twins.handle, "phase", verbose=False)
    vectors = twins.adata.obsm["X_pca"].astype(np.float64)
    theirs = np.asarray(
        harmonypy.run_harmony(vectors, twins.adata.obs, "phase", verbose=False).Z_corr
    )
    theirs = theirs if theirs.shape == vectors.shape else theirs.T
    np.testing.assert_allclose(twins.handle.obsm["X_pca_harmony"], theirs)
    with pytest.raises(ValueError, match=r"obs\['donor'\] has no value"):
        pp.harmony_integrate(twins.handle, ["phase", "donor"])
    with pytest.raises(KeyError, match="X_pcaa"):
        pp.harmony_integrate(twins.handle, "phase", basis="X_pcaa")
