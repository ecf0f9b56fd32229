"""Empty, tiny and unlabelled batches and groups of cells: the others have scanpy's
results, and one warning names those that are left out."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.scanpy import pp, tl

CELLS, GENES = 90, 120


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    rng = np.random.default_rng(3)
    x = rng.poisson(rng.gamma(0.6, 3, GENES), (CELLS, GENES)).astype(np.float32)
    x[:, 4], x[:, 9] = 0, 2
    x[7] = 0
    x[CELLS - 3 :] = 0
    group = np.array(["a"] * 40 + ["b"] * 45 + ["one"] + [None] + ["zeros"] * 3, dtype=object)
    categories = ["a", "b", "empty", "one", "zeros"]
    adata = ad.AnnData(
        sparse.csr_matrix(x),
        obs=pd.DataFrame(
            {"group": pd.Categorical(group, categories=categories)},
            index=[f"c{i}" for i in range(CELLS)],
        ),
        var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]),
    )
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e3)
    sc.pp.log1p(adata)
    path = tmp_path_factory.mktemp("groups") / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    return path, adata


def warned(call) -> list[str]:
    """What a call warns of, the lines of this file being to blame."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(w.filename == __file__ for w in caught if "Skipped" in str(w.message))
    return [str(w.message) for w in caught if "Skipped" in str(w.message)]


def kept(adata: ad.AnnData, names: list[str]) -> ad.AnnData:
    part = adata[adata.obs["group"].isin(names)].copy()
    part.obs["group"] = part.obs["group"].cat.remove_unused_categories()
    return part


FLAVORS = [
    {"flavor": "seurat"},
    {"flavor": "seurat", "n_top_genes": 30},
    {"flavor": "cell_ranger", "n_top_genes": 30},
    {"flavor": "seurat_v3", "n_top_genes": 30, "layer": "counts"},
    {"flavor": "seurat_v3_paper", "n_top_genes": 30, "layer": "counts"},
]


@pytest.mark.parametrize("options", FLAVORS, ids=str)
def test_variable_genes_of_batches(pair, options):
    """scverse/scanpy#3103, scverse/scanpy#1504, scverse/scanpy#2034: batches of one cell,
    of none, or too small for a trend."""
    if "v3" in options["flavor"]:
        pytest.importorskip("skmisc")
    path, adata = pair
    handle = read_slaf(path)
    said = warned(lambda: pp.highly_variable_genes(handle, batch_key="group", **options))
    assert len(said) == 1
    for name, why in (("empty", "0 cells"), ("one", "1 cell"), ("zeros", "")):
        assert f"'{name}' ({why}" in said[0]
    assert "'a'" not in said[0]
    want = kept(adata, ["a", "b"])
    sc.pp.highly_variable_genes(want, batch_key="group", **options)
    columns = {"means", "variances", "dispersions", "dispersions_norm", "variances_norm",
               "highly_variable", "highly_variable_nbatches", "highly_variable_rank",
               "highly_variable_intersection"}  # fmt: skip
    if "v3" in options["flavor"]:
        # Means and variances are of all cells, with or without a batch.
        columns -= {"means", "variances"}
    for name in columns & set(want.var.columns):
        np.testing.assert_allclose(
            handle.var[name].to_numpy(float),
            want.var[name].to_numpy(float),
            rtol=1e-4,
            atol=1e-6,
            err_msg=name,
        )


def test_variable_genes_of_one_batch(pair):
    """A batch_key with one category is scanpy's, column for column."""
    path, adata = pair
    want = kept(adata, ["a"])
    handle = read_slaf(path)[(adata.obs["group"] == "a").to_numpy()].copy()
    sc.pp.highly_variable_genes(want, batch_key="group")
    with warnings.catch_warnings():
        # The handle still knows the other categories, as an AnnData's view does.
        warnings.simplefilter("ignore")
        pp.highly_variable_genes(handle, batch_key="group")
    for name in want.var:
        np.testing.assert_allclose(
            handle.var[name].to_numpy(float), want.var[name].to_numpy(float), rtol=1e-4, atol=1e-6
        )


def test_variable_genes_where_no_batch_is_large_enough(pair):
    """One sentence, with the batches and why."""
    handle = read_slaf(pair[0])
    handle.obs["each"] = handle.obs_names
    with pytest.raises(SlafError, match=r"No batch of obs\['each'\].*'c0' \(1 cell\)"):
        pp.highly_variable_genes(handle, batch_key="each")
    with pytest.raises(SlafError, match="fewer than two"):
        pp.highly_variable_genes(handle[:1].copy())


@pytest.mark.parametrize(
    ("values", "flavor", "reason"),
    [
        (np.full((6, 40), 800.0), "seurat", "log1p"),
        (np.full((6, 40), np.nan), "seurat", "NaN"),
        (np.zeros((6, 40)), "cell_ranger", "filter_genes"),
        (np.ones((6, 40)), "seurat_v3", "0 genes that vary"),
    ],
)
def test_variable_genes_of_what_has_none(tmp_path, values, flavor, reason):
    """scverse/scanpy#2193 (infinity), #824 (edges of bins), #3977 (the process ends)."""
    if flavor == "seurat_v3":
        pytest.importorskip("skmisc")
    SLAFConverter().convert_anndata(ad.AnnData(values), tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    with pytest.raises(SlafError, match=reason):
        pp.highly_variable_genes(handle, flavor=flavor)
    assert "highly_variable" not in handle.var


@pytest.mark.parametrize("method", ["t-test", "t-test_overestim_var", "wilcoxon"])
@pytest.mark.parametrize("reference", ["rest", "b"])
def test_markers_of_groups(pair, method, reference):
    """scverse/scanpy#3118, scverse/scanpy#1490: groups of one cell, or none."""
    path, adata = pair
    handle, adata = read_slaf(path), adata.copy()
    options = {"method": method, "reference": reference, "pts": True}
    said = warned(lambda: tl.rank_genes_groups(handle, "group", **options))
    assert said == ["Skipped groups of obs['group']: 'empty' (0 cells), 'one' (1 cell)."]
    # scanpy raises for groups that are named; its rest has the skipped cells, too.
    tested = ["a", "b", "zeros"]
    sc.tl.rank_genes_groups(adata, "group", groups=tested, **options)
    got, want = (x.uns["rank_genes_groups"] for x in (handle, adata))
    assert got["scores"].dtype.names == want["scores"].dtype.names
    names = [n for n in tested if n != reference]
    pd.testing.assert_frame_equal(got["pts"][names], want["pts"][names], check_names=False)
    for group in names:
        for field in ("scores", "pvals", "pvals_adj", "logfoldchanges"):
            ours = pd.Series(got[field][group], got["names"][group]).loc[adata.var_names]
            theirs = pd.Series(want[field][group], want["names"][group]).loc[adata.var_names]
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4, err_msg=field)


def test_markers_of_a_group_that_is_named(pair):
    """scverse/scanpy#3118: who names a group wants to know."""
    handle = read_slaf(pair[0])
    with pytest.raises(SlafError, match="groups one since"):
        tl.rank_genes_groups(handle, "group", groups=["a", "one"])
    with pytest.raises(SlafError, match="reference 'empty' has 0 cells"):
        tl.rank_genes_groups(handle, "group", reference="empty")


def test_markers_of_nothing_to_compare(pair):
    """bedapub/besca#112: one group, or groups of one cell each."""
    handle = read_slaf(pair[0])
    handle.obs["same"] = "x"
    handle.obs["each"] = handle.obs_names
    for column, known in (("same", "'x'"), ("each", "none")):
        with pytest.raises(SlafError, match=f"nothing to compare in '{column}'.*{known}"):
            tl.rank_genes_groups(handle, column)
