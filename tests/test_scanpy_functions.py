"""Functions with scanpy's names that change a handle, compared with scanpy on the same
data in memory."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.integrations.scanpy import clear_transformations
from slaf.scanpy import pp, tl

#: Of the B cells, and of the monocytes.
GENES = ["CD79B", "MS4A1", "CD19", "CD8B", "LYZ", "CST3"]


def dense(matrix) -> np.ndarray:
    found = matrix.compute() if hasattr(matrix, "compute") else matrix
    return found.toarray() if sparse.issparse(found) else np.asarray(found)


def same_matrix(twins, *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    ours, theirs = twins.handle.X, dense(twins.adata.X)
    assert ours.dtype == twins.adata.X.dtype
    np.testing.assert_allclose(dense(ours), theirs, rtol=rtol, atol=atol)
    # A part of it is the same part, whenever it is taken.
    part = dense(twins.handle[5:90:3, [30, 2, 9]].X)
    np.testing.assert_allclose(part, theirs[5:90:3][:, [30, 2, 9]], rtol=rtol, atol=atol)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="anndata|scanpy|umap")
        yield


# Scores ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ctrl_as_ref": False},
        {"ctrl_size": 10, "n_bins": 10, "random_state": 5},
        {"layer": "half", "score_name": "b_cells"},
        {"gene_pool": 400},
    ],
    ids=str,
)
def test_scores(logs, options):
    if "gene_pool" in options:
        pool = [*GENES, *logs.adata.var_names[: options["gene_pool"]]]
        options = {"gene_pool": list(dict.fromkeys(pool))}
    here = [gene for gene in GENES if gene in logs.adata.var_names]
    logs.both(lambda module, data: module.score_genes(data, here, **options), tl, sc.tl)
    name = options.get("score_name", "score")
    np.testing.assert_allclose(logs.handle.obs[name], logs.adata.obs[name], rtol=1e-5, atol=1e-6)


def test_scores_of_raw(pbmc, pbmc_slaf):
    for use_raw in (None, True, False):
        handle, adata = read_slaf(pbmc_slaf), pbmc.copy()
        sc.tl.score_genes(adata, GENES[:3], use_raw=use_raw)
        tl.score_genes(handle, GENES[:3], use_raw=use_raw)
        np.testing.assert_allclose(handle.obs["score"], adata.obs["score"], rtol=1e-5, atol=1e-6)


def test_scores_leave_numpys_numbers_alone(logs):
    np.random.seed(7)
    tl.score_genes(logs.handle, GENES[4:])
    assert np.random.random() == np.random.RandomState(7).random_sample()
    copy = tl.score_genes(logs.handle, GENES[4], random_state=None, score_name="one", copy=True)
    assert "one" in copy.obs
    assert "one" not in logs.handle.obs


def test_scores_of_values_that_are_missing(tmp_path, real):
    adata = real[1][:, :200].copy()
    x = adata.X.toarray()
    x[np.random.default_rng(0).random(x.shape) < 0.05] = np.nan
    adata.X = sparse.csr_matrix(x)
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    genes = list(adata.var_names[:9])
    sc.tl.score_genes(adata, genes)
    tl.score_genes(handle, genes)
    assert handle.obs["score"].notna().all()
    np.testing.assert_allclose(handle.obs["score"], adata.obs["score"], rtol=1e-5, atol=1e-6)


def test_the_phase_of_cells(logs):
    names = logs.adata.var_names
    genes = {"s_genes": list(names[20:45]), "g2m_genes": list(names[300:330])}
    logs.both(lambda module, data: module.score_genes_cell_cycle(data, **genes), tl, sc.tl)
    for name in ("S_score", "G2M_score"):
        np.testing.assert_allclose(
            logs.handle.obs[name], logs.adata.obs[name], rtol=1e-5, atol=1e-6
        )
    assert list(logs.handle.obs["phase"]) == list(logs.adata.obs["phase"])
    assert set(logs.handle.obs["phase"]) == {"S", "G2M", "G1"}


def test_genes_that_are_not_there_are_told(real):
    handle = read_slaf(real[0])
    with pytest.warns(UserWarning, match="left out: 'LYX', 'Lyz'.*Did you mean.*LYZ"):
        tl.score_genes(handle, ["LYZ", "LYX", "Lyz"])
    with pytest.raises(ValueError, match="None of the genes to score.*'LYX'.*LYZ"):
        tl.score_genes(handle, ["LYX"])
    with pytest.raises(ValueError, match="`gene_pool` lacks 'LYZ'"):
        tl.score_genes(handle, ["LYZ"], gene_pool=list(handle.var_names[:50]), n_bins=5)
    with pytest.raises(ValueError, match="lower `n_bins`"):
        tl.score_genes(handle[:, :30].copy(), [handle.var_names[2]], n_bins=100)
    with pytest.raises(RuntimeError, match="ctrl_as_ref=False"):
        tl.score_genes(handle[:, :6].copy(), list(handle.var_names[:6]), n_bins=3)
    handle.var_names = ["LYZ", "LYZ", *handle.var_names[2:]]
    with pytest.raises(ValueError, match="'LYZ' is the name of .* genes"):
        tl.score_genes(handle, ["LYZ"])


# Least squares ---------------------------------------------------------------


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
        (["n_counts", "stage"], ValueError, "regressed out alone, and 'stage'"),
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


# Samples ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"n": 100, "rng": 3},
        {"fraction": 0.1, "rng": 0, "axis": "var"},
        {"n": 900, "rng": 1, "replace": True},
        {"n": 50, "rng": 2, "p": "flag"},
        {"fraction": 0, "rng": 2},
    ],
    ids=str,
)
def test_samples(twins, options):
    ours, theirs = twins.both(lambda m, data: m.sample(data, copy=True, **options), pp, sc.pp)
    assert list(ours.obs_names) == list(theirs.obs_names)
    assert list(ours.var_names) == list(theirs.var_names)
    np.testing.assert_array_equal(dense(ours.X), dense(theirs.X))
    before = twins.handle.shape
    assert before == twins.adata.shape
    pp.sample(twins.handle, **options)
    assert list(twins.handle.obs_names) == list(theirs.obs_names)
    assert not twins.handle.is_view


def test_probabilities_of_cells(twins):
    p = np.random.default_rng(0).random(twins.handle.n_obs)
    ours, theirs = twins.both(
        lambda m, data: m.sample(data, n=9, rng=1, p=p / p.sum(), copy=True), pp, sc.pp
    )
    assert list(ours.obs_names) == list(theirs.obs_names)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("options", [{"n_obs": 33}, {"fraction": 0.2, "random_state": 9}], ids=str)
def test_subsamples(twins, options):
    ours, theirs = twins.both(lambda m, data: m.subsample(data, copy=True, **options), pp, sc.pp)
    assert list(ours.obs_names) == list(theirs.obs_names)
    pp.subsample(twins.handle, **options)
    assert list(twins.handle.obs_names) == list(theirs.obs_names)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({}, TypeError, "how many"),
        ({"n": 3, "fraction": 0.1}, TypeError, "how many"),
        ({"n": 701}, ValueError, "701 cannot be drawn of 700 without replacement"),
        ({"fraction": 1.5}, ValueError, "from 0 to 1, not 1.5"),
        ({"fraction": -1, "replace": True}, ValueError, "from 0 to 1"),
        ({"n": 3, "p": "flags"}, KeyError, "flags.*Did you mean.*flag"),
        ({"n": 3, "p": np.ones(5)}, ValueError, "of the 700 entries of obs"),
        ({"n": 3, "p": np.ones(700)}, ValueError, "sum to 1"),
        ({"n": 3, "p": np.zeros(700, bool)}, ValueError, "allows none"),
        ({"n": 3, "axis": "cells"}, ValueError, "not 'cells'"),
    ],
    ids=str,
)
def test_samples_that_cannot_be_drawn(real, options, error, told):
    with pytest.raises(error, match=told):
        pp.sample(read_slaf(real[0]), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"counts_per_cell": 300},
        {"counts_per_cell": 300, "random_state": 4, "replace": True},
        {"counts_per_cell": "each"},
        {"counts_per_cell": 10_000},
        {"total_counts": 50_000},
        {"total_counts": 10**9},
    ],
    ids=str,
)
def test_fewer_counts(twins, options):
    if options.get("counts_per_cell") == "each":
        options = {"counts_per_cell": np.arange(twins.handle.n_obs) + 100}
    twins.both(lambda m, data: m.downsample_counts(data, **options), pp, sc.pp)
    same_matrix(twins, rtol=0, atol=0)
    np.testing.assert_array_equal(twins.handle.X.sum(1), dense(twins.adata.X).sum(1))
    twins.both(lambda m, data: m.normalize_total(data, target_sum=1e4), pp, sc.pp)
    same_matrix(twins)


def test_fewer_counts_are_the_same_ones_each_time(real):
    handle = pp.downsample_counts(read_slaf(real[0]), 200, random_state=None, copy=True)
    np.testing.assert_array_equal(dense(handle.X), dense(handle.X))
    assert not handle.X.pending


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "one of"),
        ({"counts_per_cell": 3, "total_counts": 3}, "one of"),
        ({"counts_per_cell": [1, 2]}, "an integer, or one for each cell"),
        ({"counts_per_cell": 2.5}, "an integer, or one for each cell"),
    ],
    ids=str,
)
def test_counts_that_cannot_be_drawn(real, options, told):
    with pytest.raises(ValueError, match=told):
        pp.downsample_counts(read_slaf(real[0]), **options)


def test_logarithms_are_no_counts(logs):
    with pytest.raises(ValueError, match="no counts"):
        pp.downsample_counts(logs.handle, 100)


# Trees and markers -----------------------------------------------------------


@pytest.mark.parametrize("groupby", ["bulk_labels", ["bulk_labels", "phase"]], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rep": "X_umap"},
        {"n_pcs": 10, "linkage_method": "average", "key_added": "tree"},
        {"use_rep": "X", "cor_method": "spearman", "optimal_ordering": True},
        {"var_names": "all"},
    ],
    ids=str,
)
def test_trees(logs, groupby, options):
    if "var_names" in options:
        # scanpy takes all genes, whichever are named.
        options = {"var_names": list(logs.adata.var_names)}
    logs.adata.X = dense(logs.adata.X)
    ours, theirs = logs.both(
        lambda m, data: m.dendrogram(data, groupby, inplace=False, **options), tl, sc.tl
    )
    assert ours.keys() == theirs.keys()
    for name in ("groupby", "use_rep", "cor_method", "linkage_method"):
        assert ours[name] == theirs[name]
    if "var_names" in options and not isinstance(groupby, str):
        # scanpy has the groups in another order then.
        np.testing.assert_allclose(ours["linkage"][:, 2], theirs["linkage"][:, 2], rtol=1e-3)
        assert set(ours["categories_ordered"]) == set(theirs["categories_ordered"])
    else:
        for name in ("linkage", "correlation_matrix"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4)
        assert list(ours["categories_ordered"]) == list(theirs["categories_ordered"])
    assert tl.dendrogram(logs.handle, groupby, **options) is None
    joined = groupby if isinstance(groupby, str) else "_".join(groupby)
    key = options.get("key_added", f"dendrogram_{joined}")
    np.testing.assert_array_equal(logs.handle.uns[key]["linkage"], ours["linkage"])


def test_a_tree_of_some_genes_is_of_these(logs):
    some = list(logs.adata.var_names[100:160])
    logs.adata.X = dense(logs.adata.X)
    ours = tl.dendrogram(logs.handle, "bulk_labels", var_names=some, inplace=False)
    theirs = sc.tl.dendrogram(logs.adata[:, some], "bulk_labels", use_rep="X", inplace=False)
    np.testing.assert_allclose(ours["linkage"], theirs["linkage"], rtol=1e-3, atol=1e-4)


def test_a_tree_of_groups_without_cells_and_cells_without_groups(real):
    """scanpy fails on the first, and makes a group "nan" of the second."""
    handle = read_slaf(real[0])
    tree = tl.dendrogram(handle, "stage", inplace=False)
    assert set(tree["categories_ordered"]) == {"late", "early"}
    tree = tl.dendrogram(handle, ["donor", "stage"], inplace=False)
    assert len(tree["categories_ordered"]) == 6
    known = handle[handle.obs["donor"].notna()]
    again = tl.dendrogram(known, ["donor", "stage"], inplace=False)
    np.testing.assert_allclose(tree["linkage"], again["linkage"])


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"groupby": "louvains"}, KeyError, "louvains.*Did you mean.*louvain"),
        ({"groupby": "n_counts"}, ValueError, "text or categories, and obs.'n_counts'"),
        ({"groupby": "louvain", "use_rep": "X_pcaa"}, KeyError, "X_pcaa.*Did you mean.*X_pca"),
        ({"groupby": "louvain", "n_pcs": 60}, ValueError, "has 50 columns, and not 60"),
        ({"groupby": "louvain", "var_names": ["LYX"]}, KeyError, "LYX.*Did you mean.*LYZ"),
    ],
    ids=str,
)
def test_trees_that_cannot_be(real, options, error, told):
    with pytest.raises(error, match=told):
        tl.dendrogram(read_slaf(real[0]), **options)


@pytest.mark.parametrize(
    "found", [{}, {"pts": True}, {"reference": "CD19+ B"}, {"n_genes": 50}], ids=str
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_fold_change": 2, "max_out_group_fraction": 0.9, "compare_abs": True},
        {"groupby": "bulk_labels", "key_added": "some", "min_in_group_fraction": 0.6},
    ],
    ids=str,
)
def test_filtered_markers(logs, found, options):
    logs.adata.X = logs.handle.X.compute()
    sc.tl.rank_genes_groups(logs.adata, "bulk_labels", **found)
    logs.handle.uns["rank_genes_groups"] = logs.adata.uns["rank_genes_groups"]
    logs.both(lambda m, data: m.filter_rank_genes_groups(data, **options), tl, sc.tl)
    key = options.get("key_added", "rank_genes_groups_filtered")
    ours, theirs = logs.both(lambda m, data: pd.DataFrame(data.uns[key]["names"]), None, None)
    pd.testing.assert_frame_equal(ours, theirs)
    assert 0 < ours.notna().to_numpy().sum() < ours.size


def test_filtered_markers_of_raw_and_of_other_groups(pbmc, pbmc_slaf):
    adata, handle = pbmc.copy(), read_slaf(pbmc_slaf)
    sc.tl.rank_genes_groups(adata, "bulk_labels", method="wilcoxon")
    handle.uns["rank_genes_groups"] = adata.uns["rank_genes_groups"]
    sc.tl.filter_rank_genes_groups(adata, min_fold_change=3)
    tl.filter_rank_genes_groups(handle, min_fold_change=3)
    ours, theirs = (
        pd.DataFrame(data.uns["rank_genes_groups_filtered"]["names"]) for data in (handle, adata)
    )
    pd.testing.assert_frame_equal(ours, theirs)
    with pytest.raises(KeyError, match="No cell is of the ranked group"):
        tl.filter_rank_genes_groups(handle, groupby="louvain")
    with pytest.raises(KeyError, match="uns has no 'ranked'"):
        tl.filter_rank_genes_groups(handle, key="ranked")


# Batches ---------------------------------------------------------------------


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
    with pytest.raises(ValueError, match="tell the same"):
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


# Neighbours ------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"transformer": "exact"},
        {"transformer": "exact", "n_neighbors": 7, "n_pcs": 20, "method": "gauss"},
        {"transformer": "exact", "use_rep": "X_umap", "key_added": "near"},
        {"transformer": "exact", "metric": "cosine"},
        {"n_neighbors": 9},
    ],
    ids=str,
)
def test_neighbours(twins, options, monkeypatch):
    monkeypatch.setattr("slaf.pp.neighbors._BLOCK", 128)
    pp.neighbors(twins.handle, **options)
    sc.pp.neighbors(twins.adata, **{**options, "transformer": "sklearn"})
    key = options.get("key_added", "neighbors")
    ours, theirs = twins.handle.uns[key], twins.adata.uns[key]
    assert dict(ours) == dict(theirs)
    for name in (theirs["distances_key"], theirs["connectivities_key"]):
        np.testing.assert_allclose(
            dense(twins.handle.obsp[name]), dense(twins.adata.obsp[name]), rtol=1e-3, atol=1e-4
        )


def test_neighbours_of_equal_cells(real):
    handle = read_slaf(real[0])[:50].copy()
    handle.obsm["X_pca"] = np.repeat(np.eye(2, dtype=np.float32), 25, axis=0)
    pp.neighbors(handle, transformer="exact", n_neighbors=5)
    graph = handle.obsp["distances"]
    assert graph.nnz == 50 * 4
    assert not graph.diagonal().any()
    assert graph.max() == 0


def test_neighbours_of_no_embedding(real):
    handle = read_slaf(real[0])
    with pytest.raises(ValueError, match="in an embedding, not in X"):
        pp.neighbors(handle, use_rep="X")
    with pytest.raises(ValueError, match="in an embedding, not in X"):
        pp.neighbors(handle[:, :40].copy())
    with pytest.raises(ValueError, match="'euclidean' or 'cosine', not 'manhattan'"):
        pp.neighbors(handle, transformer="exact", metric="manhattan")
    del handle.obsm["X_pca"]
    pp.neighbors(handle, n_pcs=12, transformer="exact")
    assert handle.obsm["X_pca"].shape == (700, 12)


# Doublets and references -----------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.2},
        {"threshold": 0.2, "sim_doublet_ratio": 1.5, "random_state": 3, "n_neighbors": 8},
        {"threshold": 0.2, "batch_key": "stage", "n_prin_comps": 10, "log_transform": True},
        {"threshold": None},
    ],
    ids=str,
)
def test_doublets(real, options):
    if options["threshold"] is None:
        pytest.importorskip("skimage")
    path, adata = real
    handle, adata = read_slaf(path), adata.copy()
    if "batch_key" in options:
        adata.obs["stage"] = adata.obs["stage"].cat.remove_unused_categories()
    pp.scrublet(handle, **options)
    sc.pp.scrublet(adata, verbose=False, **options)
    for name in ("doublet_score", "predicted_doublet"):
        np.testing.assert_allclose(
            handle.obs[name].astype(float), adata.obs[name].astype(float), rtol=1e-5
        )
    assert handle.obs["predicted_doublet"].dtype == bool
    ours, theirs = handle.uns["scrublet"], adata.uns["scrublet"]
    assert ours.keys() == theirs.keys()
    if "batch_key" in options:
        ours, theirs = ours["batches"]["late"], theirs["batches"]["late"]
    np.testing.assert_allclose(ours["doublet_scores_sim"], theirs["doublet_scores_sim"], rtol=1e-5)
    assert ours["parameters"] == theirs["parameters"]
    assert handle.X.pending == ()


def test_cells_with_too_few_genes_are_no_doublets(real):
    handle = read_slaf(real[0])
    x = handle.X.compute().tolil()
    x[[3, 9]] = 0
    handle.X = sparse.csr_matrix(x)
    adata = handle.to_adata()
    pp.scrublet(handle, threshold=0.2)
    sc.pp.scrublet(adata, threshold=0.2, verbose=False)
    np.testing.assert_allclose(handle.obs["doublet_score"], adata.obs["doublet_score"], rtol=1e-5)
    missing = handle.obs["predicted_doublet"].isna().to_numpy()
    assert list(np.flatnonzero(missing)) == [3, 9]
    with pytest.raises(ValueError, match="no batch for"):
        pp.scrublet(handle, threshold=0.2, batch_key="donor")


@pytest.fixture
def mapped(real):
    """A reference and new cells, with the same components and neighbours."""
    path, adata = real
    handle, adata = read_slaf(path), adata.copy()
    for module, data in ((pp, handle), (sc.pp, adata)):
        module.normalize_total(data, target_sum=1e4)
        module.log1p(data)
        module.highly_variable_genes(data)
    ours, theirs = ((data[:500].copy(), data[500:].copy()) for data in (handle, adata))
    for parts in (ours, theirs):
        for key in ("X_pca", "X_umap"):
            del parts[1].obsm[key]
    reference = theirs[0]
    sc.pp.pca(reference, n_comps=20)
    sc.pp.neighbors(reference)
    sc.tl.umap(reference)
    for section in ("obsm", "varm", "obsp", "uns"):
        for key, value in getattr(reference, section).items():
            getattr(ours[0], section)[key] = value
    return ours, theirs


def test_labels_of_a_reference(mapped):
    (ref, new), (theirs_ref, theirs) = mapped
    labels = ["bulk_labels", "phase"]
    try:
        sc.tl.ingest(theirs, theirs_ref, obs=labels)
    except TypeError:
        # scanpy 1.11 and pynndescent 0.7.
        with pytest.raises(ImportError, match="pip install 'pynndescent<0.7'"):
            tl.ingest(new, ref, obs=labels)
        return
    copy = tl.ingest(new, ref, obs=labels, inplace=False)
    assert "X_pca" not in new.obsm
    assert set(copy.obsm) == set(theirs.obsm)
    for key in ("X_pca", "rep"):
        np.testing.assert_allclose(copy.obsm[key], theirs.obsm[key], atol=1e-4)
    # What rounding does to UMAP's descent it does to scanpy's, too.
    assert np.median(np.abs(copy.obsm["X_umap"] - theirs.obsm["X_umap"])) < 0.1
    for name in labels:
        assert (copy.obs[name].to_numpy() == theirs.obs[name].to_numpy()).mean() > 0.98


def test_references_that_do_not_fit(mapped):
    (ref, new), _ = mapped
    with pytest.raises(ValueError, match="other genes"):
        tl.ingest(new[:, ::-1], ref)
    with pytest.raises(KeyError, match="bulk_label.*Did you mean.*bulk_labels"):
        tl.ingest(new, ref, obs="bulk_label")
    del ref.uns["pca"]
    with pytest.raises(ValueError, match="run `pp.pca` on it first"):
        tl.ingest(new, ref)


def test_anndata_objects_are_for_scanpy(real):
    adata: ad.AnnData = real[1]
    for call in (
        lambda: pp.regress_out(adata, "n_counts"),
        lambda: pp.combat(adata, "phase"),
        lambda: pp.sample(adata, n=3),
        lambda: pp.downsample_counts(adata, 3),
        lambda: pp.scrublet(adata, threshold=1),
        lambda: pp.harmony_integrate(adata, "phase"),
        lambda: tl.score_genes(adata, "LYZ"),
        lambda: tl.dendrogram(adata, "phase"),
        lambda: tl.ingest(adata, adata),
        lambda: tl.filter_rank_genes_groups(adata),
    ):
        with pytest.raises(TypeError, match="lazy handles"):
            call()
