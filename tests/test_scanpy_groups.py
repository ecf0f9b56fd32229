"""Scores of genes, trees of groups and filtered markers: as scanpy has them in memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from fixtures_scanpy import dense
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.scanpy import tl

pytestmark = pytest.mark.usefixtures("quiet")

#: Of the B cells, and of the monocytes.
GENES = ["CD79B", "MS4A1", "CD19", "CD8B", "LYZ", "CST3"]


# Scores -----------------------------------------------------------------------


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


# Trees and markers ------------------------------------------------------------


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
