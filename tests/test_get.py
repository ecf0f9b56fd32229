"""`slaf.get` compared with scanpy's `get` on the same data in memory."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import make_counts
from scipy import sparse
from slaf import get
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.scanpy import tl

FUNCTIONS = ["sum", "mean", "count_nonzero", "var", "median"]


@pytest.mark.parametrize(
    "options",
    [
        {"keys": ["CD8B", "n_genes", "bulk_labels", "LYZ", "CD8B"]},
        {"keys": "LYZ"},
        {"keys": ["donor", "flag", "part", "stage"]},
        {"keys": ["S100", "S13", "flag"], "gene_symbols": "symbol"},
        {"keys": ["LYZ"], "layer": "half"},
        {"keys": [], "obsm_keys": [("X_umap", 1), ("X_pca", 0)]},
        {"keys": ["LYZ", "phase"], "obsm_keys": [("X_umap", 1)]},
    ],
    ids=str,
)
def test_values_of_cells(twins, options):
    ours, theirs = twins.both(lambda module, data: module.obs_df(data, **options), get, sc.get)
    pd.testing.assert_frame_equal(ours, theirs)


def test_values_of_cells_are_those_after_pending_steps(logs):
    keys = ["LYZ", "CD79B", "bulk_labels"]
    ours, theirs = logs.both(lambda module, data: module.obs_df(data, keys), get, sc.get)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6)


def test_values_of_raw(pbmc, pbmc_slaf):
    keys = ["LYZ", "n_genes", "CD79A"]
    ours = get.obs_df(read_slaf(pbmc_slaf), keys, use_raw=True)
    pd.testing.assert_frame_equal(ours, sc.get.obs_df(pbmc, keys, use_raw=True))


def test_names_of_genes_may_come_as_an_index(twins):
    names = twins.handle.var_names[:3]
    ours = get.obs_df(twins.handle, names)
    pd.testing.assert_frame_equal(ours, sc.get.obs_df(twins.adata, list(names)))


def test_only_the_named_genes_are_read(real, monkeypatch):
    handle = read_slaf(real[0])
    asked = []
    dataset = type(handle.X._plan.source.dataset)
    whole = dataset.csr
    monkeypatch.setattr(
        dataset,
        "csr",
        lambda self, rows, columns: asked.append(columns) or whole(self, rows, columns),
    )
    get.obs_df(handle, ["LYZ", "CD8B"])
    assert [len(columns) for columns in asked] == [2]


def test_values_of_genes(twins):
    cells = twins.handle.obs_names
    for options in (
        {"keys": [cells[7], "symbol", cells[0]]},
        {"keys": cells[3], "layer": "half"},
        {"keys": ["mt", "kind"]},
    ):
        ours, theirs = twins.both(lambda m, data, o=options: m.var_df(data, **o), get, sc.get)
        pd.testing.assert_frame_equal(ours, theirs)


def test_loadings_of_genes(pbmc, pbmc_slaf):
    handle = read_slaf(pbmc_slaf)
    keys, loadings = ["means", handle.obs_names[1]], [("PCs", 2)]
    pd.testing.assert_frame_equal(
        get.var_df(handle, keys, loadings), sc.get.var_df(pbmc, keys, loadings)
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keys": ["LYY"]}, "neither a column of obs nor a gene.*Did you mean.*LYZ"),
        ({"keys": ["bulk_label"]}, "neither a column.*bulk_labels"),
        ({"keys": ["LYZ"], "layer": "halff"}, "halff"),
        ({"keys": ["S1"], "gene_symbols": "symbols"}, "symbols.*Did you mean.*symbol"),
        ({"obsm_keys": [("X_umap", 2)]}, "'X_umap' has 2 columns, and none is 2"),
        ({"obsm_keys": [("X_tsne", 0)]}, "X_tsne"),
    ],
    ids=str,
)
def test_a_name_that_is_not_there(real, options, told):
    with pytest.raises(KeyError, match=told):
        get.obs_df(read_slaf(real[0]), **options)


def test_a_name_that_means_two_things(real):
    handle = read_slaf(real[0])
    handle.obs["LYZ"] = 1
    with pytest.raises(KeyError, match="'LYZ' is a column of obs and a gene"):
        get.obs_df(handle, ["LYZ"])
    handle.var["symbol"] = ["twice"] * handle.n_vars
    with pytest.raises(KeyError, match="'twice' is the name of 765 genes"):
        get.obs_df(handle, ["twice"], gene_symbols="symbol")
    with pytest.raises(ValueError, match="no raw"):
        get.obs_df(handle, ["CD8B"], use_raw=True)
    with pytest.raises(TypeError, match="lazy handles"):
        get.obs_df(handle.to_adata(), ["CD8B"])


def same_groups(ours: ad.AnnData, theirs: ad.AnnData) -> None:
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    pd.testing.assert_frame_equal(ours.var, theirs.var)
    assert set(ours.layers) == set(theirs.layers)
    for name, layer in theirs.layers.items():
        # scanpy's variances lose digits to the mean.
        np.testing.assert_allclose(ours.layers[name], layer, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"by": "bulk_labels"},
        {"by": ["bulk_labels", "phase"]},
        {"by": "stage", "dof": 0},
        {"by": ["stage", "flag"], "layer": "half"},
        {"by": "louvain", "obsm": "X_umap"},
        {"by": "kind", "axis": "var"},
        {"by": ["mt", "kind"], "axis": 1, "layer": "half"},
    ],
    ids=str,
)
def test_groups(twins, options):
    ours, theirs = twins.both(
        lambda module, data: module.aggregate(data, func=FUNCTIONS, **options), get, sc.get
    )
    same_groups(ours, theirs)


def test_groups_of_pending_steps(logs):
    ours, theirs = logs.both(
        lambda module, data: module.aggregate(data, "bulk_labels", ["mean", "var"]), get, sc.get
    )
    same_groups(ours, theirs)


def test_groups_of_a_matrix_that_is_dense(pbmc, pbmc_slaf):
    ours = get.aggregate(read_slaf(pbmc_slaf), "louvain", FUNCTIONS)
    theirs = sc.get.aggregate(pbmc, "louvain", FUNCTIONS)
    for name in FUNCTIONS:
        np.testing.assert_allclose(ours.layers[name], theirs.layers[name], rtol=1e-4, atol=1e-5)
    loadings = get.aggregate(read_slaf(pbmc_slaf), "highly_variable", "mean", varm="PCs")
    theirs = sc.get.aggregate(pbmc, "highly_variable", "mean", varm="PCs")
    np.testing.assert_allclose(loadings.layers["mean"], theirs.layers["mean"], atol=1e-12)


def test_one_function_is_one_layer(real):
    result = get.aggregate(read_slaf(real[0]), "louvain", "sum")
    assert list(result.layers) == ["sum"]
    assert result.X is None


def test_cells_without_a_group_are_in_none(twins):
    """scanpy 1.11 puts them into groups that are not there."""
    some = twins.adata[twins.adata.obs["donor"].notna()].copy()
    ours = get.aggregate(twins.handle, ["donor", "phase"], FUNCTIONS)
    same_groups(ours, sc.get.aggregate(some, ["donor", "phase"], FUNCTIONS))


def test_a_mask_is_as_if_there_were_no_others(twins):
    """scanpy 1.11 divides by the cells that are masked out, too."""
    want = sc.get.aggregate(twins.adata[twins.adata.obs["flag"]].copy(), "louvain", FUNCTIONS)
    for mask in ("flag", twins.adata.obs["flag"].to_numpy()):
        ours = get.aggregate(twins.handle, "louvain", FUNCTIONS, mask=mask)
        np.testing.assert_array_equal(ours.obs_names, want.obs_names)
        same_groups(ours, want)


def test_groups_of_values_of_every_kind(tmp_path):
    adata = make_counts()
    x = adata.X.toarray() - 1.0
    x[x == 3] = np.nan
    adata.X = x
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    frame = pd.DataFrame(x).groupby(adata.obs["batch"].to_numpy())
    ours = get.aggregate(read_slaf(tmp_path / "x.slaf"), "batch", "median")
    want = np.array([np.median(rows, axis=0) for _, rows in frame])
    np.testing.assert_allclose(ours.layers["median"], want)
    assert np.isnan(want).any()
    assert (want < 0).any()


def test_stored_zeros_are_zeros(tmp_path):
    x = sparse.csr_matrix(np.eye(6, dtype=np.float32))
    x.data[:3] = 0
    adata = ad.AnnData(x, obs=pd.DataFrame({"g": list("aabbcc")}, index=list("uvwxyz")))
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    ours = get.aggregate(read_slaf(tmp_path / "x.slaf"), "g", FUNCTIONS)
    same_groups(ours, sc.get.aggregate(adata, "g", FUNCTIONS))


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"by": "louvains"}, KeyError, "louvains.*Did you mean.*louvain"),
        ({"by": []}, ValueError, "names no column"),
        ({"by": "louvain", "func": "means"}, ValueError, "'means'.*Did you mean.*mean"),
        ({"by": "louvain", "axis": 2}, ValueError, "'obs' .0. or 'var' .1., not 2"),
        ({"by": "louvain", "mask": "flags"}, ValueError, "flags"),
        ({"by": "louvain", "layer": "half", "obsm": "X_pca"}, TypeError, "one of"),
        ({"by": "louvain", "varm": "PCs", "axis": 0}, ValueError, "does not fit"),
    ],
    ids=str,
)
def test_groups_that_cannot_be(real, options, error, told):
    with pytest.raises(error, match=told):
        get.aggregate(read_slaf(real[0]), **{"func": "mean", **options})


def test_two_groups_of_one_name(real):
    handle = read_slaf(real[0])
    handle.obs["one"] = np.where(np.arange(700) % 2, "a_b", "a")
    handle.obs["two"] = np.where(np.arange(700) % 2, "c", "b_c")
    with pytest.raises(ValueError, match="Two groups are called 'a_b_c'"):
        get.aggregate(handle, ["one", "two"], "mean")


@pytest.mark.parametrize(
    "options",
    [
        {"group": "CD34+"},
        {"group": None},
        {"group": ["CD34+", "CD19+ B"], "log2fc_min": 1, "log2fc_max": 4},
        {"group": None, "pval_cutoff": 0.01, "gene_symbols": "symbol"},
    ],
    ids=str,
)
def test_ranked_genes(logs, options):
    logs.adata.X = logs.handle.X.compute()
    logs.both(lambda m, data: m.rank_genes_groups(data, "bulk_labels", pts=True), tl, sc.tl)
    logs.adata.uns["rank_genes_groups"] = logs.handle.uns["rank_genes_groups"]
    ours, theirs = logs.both(lambda m, data: m.rank_genes_groups_df(data, **options), get, sc.get)
    assert len(ours)
    pd.testing.assert_frame_equal(ours, theirs)


def test_ranked_genes_that_are_not_there(real):
    handle = read_slaf(real[0])
    with pytest.raises(KeyError, match="slaf.scanpy.tl.rank_genes_groups"):
        get.rank_genes_groups_df(handle, "CD34+")
    tl.rank_genes_groups(handle, "bulk_labels")
    with pytest.raises(KeyError, match="'CD34'.*Did you mean.*CD34"):
        get.rank_genes_groups_df(handle, "CD34")
    with pytest.raises(KeyError, match="symbols"):
        get.rank_genes_groups_df(handle, "CD34+", gene_symbols="symbols")
