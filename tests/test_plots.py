"""Plots of a handle are the same as scanpy's plots of the same data in memory."""

from __future__ import annotations

import warnings

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import make_counts
from drawings import drawing, same
from slaf import concat, pl, read_slaf
from slaf.data import SLAFConverter
from slaf.scanpy import pp, tl

matplotlib.use("Agg")

GENES = ["CST3", "CD79A", "LYZ", "CST3"]
BY_TYPE = {"T": ["CD3D", "CD8A"], "B": "CD79A", "myeloid": ["LYZ", "CST3"]}
SOME = {"var_names": GENES, "groupby": "bulk_labels"}

#: Of a plot, what it is called with beside the data.
CALLS = [
    ("dotplot", SOME),
    ("dotplot", {**SOME, "use_raw": False}),
    ("dotplot", {**SOME, "use_raw": False, "expression_cutoff": -0.2}),
    ("dotplot", {**SOME, "mean_only_expressed": True, "expression_cutoff": 1.5}),
    ("dotplot", {**SOME, "log": True, "standard_scale": "var", "dendrogram": True}),
    ("dotplot", {**SOME, "standard_scale": "group", "swap_axes": True, "title": "Markers"}),
    ("dotplot", {"var_names": BY_TYPE, "groupby": "louvain", "var_group_rotation": 0}),
    ("dotplot", {**SOME, "groupby": ["phase", "bulk_labels"]}),
    ("dotplot", {**SOME, "groupby": ["bulk_labels"], "dot_max": 0.5, "cmap": "Blues"}),
    ("dotplot", {**SOME, "groupby": "percent_mito", "num_categories": 4}),
    ("dotplot", {"var_names": ["n_counts", "S_score"], "groupby": "phase"}),
    ("dotplot", {"var_names": "LYZ", "groupby": "phase", "categories_order": ["S", "G1", "G2M"]}),
    ("dotplot", {**SOME, "vmin": 1, "vcenter": 2, "vmax": 3, "figsize": (7, 4)}),
    ("matrixplot", SOME),
    ("matrixplot", {**SOME, "use_raw": False, "cmap": "RdBu_r", "colorbar_title": "z"}),
    ("matrixplot", {"var_names": BY_TYPE, "groupby": "bulk_labels", "dendrogram": True}),
    ("matrixplot", {**SOME, "standard_scale": "var", "log": True}),
    ("matrixplot", {**SOME, "groupby": ["phase", "louvain"], "swap_axes": True}),
    ("stacked_violin", SOME),
    ("stacked_violin", {"var_names": BY_TYPE, "groupby": "bulk_labels", "dendrogram": True}),
    ("stacked_violin", {**SOME, "swap_axes": True, "standard_scale": "var", "stripplot": True}),
    ("heatmap", SOME),
    ("heatmap", {**SOME, "use_raw": False, "dendrogram": True, "swap_axes": True}),
    ("heatmap", {"var_names": BY_TYPE, "groupby": "louvain", "standard_scale": "var"}),
    ("heatmap", {**SOME, "groupby": "n_genes", "num_categories": 3, "cmap": "viridis"}),
    ("heatmap", {**SOME, "groupby": ["phase", "louvain"]}),
    ("tracksplot", {**SOME, "groupby": "phase"}),
    ("tracksplot", {"var_names": BY_TYPE, "groupby": "bulk_labels", "dendrogram": True}),
    ("violin", {"keys": "n_genes"}),
    ("violin", {"keys": ["n_genes", "percent_mito"], "jitter": 0.4, "multi_panel": True}),
    ("violin", {"keys": ["LYZ", "n_counts"], "groupby": "bulk_labels", "rotation": 90}),
    ("violin", {"keys": "CD79A", "groupby": "phase", "use_raw": False, "stripplot": False}),
    ("violin", {"keys": "S_score", "groupby": "louvain", "order": ["3", "1"], "xlabel": "cluster"}),
    ("umap", {}),
    ("umap", {"color": "louvain"}),
    ("umap", {"color": ["bulk_labels", "LYZ", "n_counts"], "ncols": 2}),
    ("umap", {"color": "phase", "groups": ["S"], "legend_loc": "on data", "size": 30}),
    ("umap", {"color": "LYZ", "use_raw": False, "vmin": "p5", "vmax": 2, "cmap": "magma"}),
    ("umap", {"color": ["phase", None], "palette": "Set2", "title": ["a", "b"], "frameon": False}),
    ("umap", {"color": "n_genes", "sort_order": False, "add_outline": True, "colorbar_loc": None}),
    ("umap", {"color": "louvain", "edges": True}),
    ("embedding", {"basis": "X_umap", "color": "CD3D"}),
    ("pca", {"color": "phase", "annotate_var_explained": True}),
    ("pca", {"color": "LYZ", "components": ["1,2", "3,4"]}),
    ("pca", {"color": "phase", "projection": "3d"}),
    ("scatter", {"x": "n_counts", "y": "n_genes", "color": "percent_mito"}),
    ("scatter", {"x": "LYZ", "y": "CST3", "color": ["phase", "CD79A"], "use_raw": False}),
    ("scatter", {"x": "LYZ", "y": "n_counts", "color": "#fe57a1"}),
    ("scatter", {"x": "means", "y": "dispersions", "color": "highly_variable"}),
    ("scatter", {"x": "means", "y": "AAAGCCTGGCTAAC-1", "use_raw": False}),
    ("scatter", {"basis": "umap", "color": "louvain", "legend_loc": "on data"}),
    ("rank_genes_groups", {"n_genes": 5}),
    ("rank_genes_groups", {"groups": ["CD34+", "Dendritic"], "sharey": False}),
    ("rank_genes_groups_dotplot", {"n_genes": 2}),
    ("rank_genes_groups_dotplot", {"n_genes": -2, "groups": ["CD34+"], "dendrogram": False}),
    ("rank_genes_groups_dotplot", {"var_names": BY_TYPE, "groupby": "louvain"}),
    ("rank_genes_groups_matrixplot", {"n_genes": 3, "standard_scale": "var"}),
    ("rank_genes_groups_stacked_violin", {"n_genes": 2}),
    ("rank_genes_groups_heatmap", {"n_genes": 2, "show_gene_labels": True}),
    ("rank_genes_groups_tracksplot", {"n_genes": 2}),
    ("rank_genes_groups_violin", {"n_genes": 3, "groups": "CD34+"}),
    ("rank_genes_groups_violin", {"gene_names": ["LYZ", "CST3"], "strip": False}),
    ("pca_variance_ratio", {"n_pcs": 10, "log": True}),
    ("dendrogram", {"groupby": "bulk_labels", "orientation": "left"}),
    ("correlation_matrix", {"groupby": "louvain"}),
    (
        "correlation_matrix",
        {"groupby": "bulk_labels", "show_correlation_numbers": True, "cmap": "RdBu"},
    ),
]


def told(call):
    return f"{call[0]}-{'-'.join(f'{k}={v}' for k, v in call[1].items() if k != 'var_names')}"[:70]


@pytest.fixture(scope="module")
def counted():
    """Counts with symbols, layers, raw-less, and repeated names elsewhere."""
    adata = make_counts(200, 60)
    adata.var["symbol"] = [f"G{i % 55}" for i in range(60)]
    adata.layers["twice"] = adata.X * 2
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.add_categories("none of it")
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    adata.obsm["X_draw_graph_fa"] = adata.obsm["X_pca"][:, :2].copy()
    adata.uns["draw_graph"] = {"params": {"layout": "fa"}}
    return adata


@pytest.fixture(scope="module")
def counted_slaf(counted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    counted.write_h5ad(folder / "counted.h5ad")
    SLAFConverter().convert(folder / "counted.h5ad", folder / "counted.slaf")
    return folder / "counted.slaf"


def both(name, ours, theirs, given):
    """Draws with slaf and with scanpy, and compares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = drawing(lambda: getattr(sc.pl, name)(theirs, show=False, **given))
        found = drawing(lambda: getattr(pl, name)(ours, show=False, **given))
    same(found, expected)


@pytest.mark.parametrize("call", CALLS, ids=told)
def test_what_scanpy_draws(call, pbmc, pbmc_slaf):
    name, given = call
    both(name, read_slaf(pbmc_slaf), pbmc.copy(), given)


#: The same of counts without raw: layers, symbols, cells of no group, a group of no
#: cells.
OF_COUNTS = [
    ("dotplot", {"var_names": ["ENSG00003", "ENSG00001"], "groupby": "stage", "layer": "twice"}),
    ("dotplot", {"var_names": ["G30", "G54", "G30"], "groupby": "stage", "gene_symbols": "symbol"}),
    ("dotplot", {"var_names": {"a": "ENSG00003"}, "groupby": "donor", "expression_cutoff": 1}),
    ("dotplot", {"var_names": "ENSG00003", "groupby": "age", "num_categories": 2}),
    ("matrixplot", {"var_names": ["G30", "score"], "groupby": "batch", "gene_symbols": "symbol"}),
    ("matrixplot", {"var_names": ["ENSG00003"], "groupby": ["batch", "stage"], "layer": "twice"}),
    ("stacked_violin", {"var_names": ["G30"], "groupby": "batch", "gene_symbols": "symbol"}),
    ("heatmap", {"var_names": ["ENSG00003"], "groupby": "batch", "layer": "twice"}),
    ("tracksplot", {"var_names": ["G30", "G10"], "groupby": "stage", "gene_symbols": "symbol"}),
    ("violin", {"keys": ["ENSG00003", "score"], "groupby": "cell_type"}),
    ("violin", {"keys": "ENSG00002", "groupby": "stage", "layer": "twice", "stripplot": False}),
    ("pca", {"color": ["G30", "cell_type", "donor", "doublet", "score"], "gene_symbols": "symbol"}),
    ("pca", {"color": "ENSG00003", "layer": "twice", "mask_obs": "doublet"}),
    ("draw_graph", {"color": "ENSG00007"}),
    ("scatter", {"x": "ENSG00003", "y": "ENSG00001", "color": "score", "layers": "twice"}),
    ("scatter", {"x": "ENSG00003", "y": "score", "layers": ("X", None, "twice")}),
    ("highest_expr_genes", {"n_top": 8}),
    (
        "highest_expr_genes",
        {"n_top": 3, "layer": "twice", "gene_symbols": "symbol", "color": "red"},
    ),
]


@pytest.mark.parametrize("call", OF_COUNTS, ids=told)
def test_of_counts(call, counted, counted_slaf):
    name, given = call
    both(name, read_slaf(counted_slaf), counted.copy(), given)


@pytest.mark.parametrize("name", ["dotplot", "heatmap", "umap", "violin"])
def test_of_a_slice(name, pbmc, pbmc_slaf):
    given = {
        "dotplot": {"var_names": ["LYZ", "CD79A"], "groupby": "bulk_labels"},
        "heatmap": {"var_names": ["LYZ", "CD79A"], "groupby": "bulk_labels", "dendrogram": True},
        "umap": {"color": ["bulk_labels", "LYZ"]},
        "violin": {"keys": "LYZ", "groupby": "bulk_labels"},
    }[name]
    some = (pbmc.obs["bulk_labels"].isin(["Dendritic", "CD34+", "CD19+ B"])).to_numpy()
    handle = read_slaf(pbmc_slaf)[some, 100:600][::-1]
    both(name, handle, pbmc[some, 100:600][::-1].copy(), given)


@pytest.mark.parametrize("name", ["dotplot", "matrixplot", "tracksplot", "pca"])
def test_after_pending_steps(name, counted, counted_slaf):
    given = {"var_names": ["ENSG00003", "ENSG00004"], "groupby": "stage"}
    given = {"color": "ENSG00003"} if name == "pca" else given
    handle, adata = read_slaf(counted_slaf), counted.copy()
    for module, data in ((pp, handle), (sc.pp, adata)):
        module.normalize_total(data, target_sum=1e4)
        module.log1p(data)
    both(name, handle, adata, given)
    pp.scale(handle, max_value=2)
    sc.pp.scale(adata, max_value=2)
    both(name, handle, adata, given)


def test_of_several_datasets(counted, counted_slaf):
    handles = [read_slaf(counted_slaf)[:80], read_slaf(counted_slaf)[50:]]
    handle = concat(handles, index_unique="-", label="part")
    adata = ad.concat([counted[:80], counted[50:]], index_unique="-", label="part")
    both("dotplot", handle, adata, {"var_names": ["ENSG00003"], "groupby": ["part", "batch"]})
    both("violin", handle, adata, {"keys": "ENSG00003", "groupby": "part"})
    both("pca", handle, adata, {"color": ["ENSG00003", "part"]})


@pytest.mark.parametrize(
    "name", ["dotplot", "matrixplot", "stacked_violin", "heatmap", "tracksplot"]
)
def test_groups_without_cells_are_left_out(name, counted, counted_slaf):
    there = counted[counted.obs["cell_type"].notna()].copy()
    there.obs["cell_type"] = there.obs["cell_type"].cat.remove_unused_categories()
    handle = read_slaf(counted_slaf)
    handle = handle[handle.obs["cell_type"].notna()]
    handle.obs["cell_type"] = handle.obs["cell_type"].cat.set_categories(
        ["T cells", "x", "NK", "B cells"]
    )
    there.obs["cell_type"] = there.obs["cell_type"].cat.reorder_categories(
        ["T cells", "NK", "B cells"]
    )
    given = {"var_names": ["ENSG00003"], "groupby": "cell_type", "dendrogram": True}
    both(name, handle, there, given)


def test_cells_of_no_group(counted, counted_slaf):
    """Where scanpy does not leave them out, it fails."""
    known = counted[counted.obs["cell_type"].notna()].copy()
    for groupby in ("cell_type", ["cell_type", "stage"]):
        given = {"var_names": ["ENSG00003"], "groupby": groupby}
        for name in ("dotplot", "heatmap", "stacked_violin"):
            both(name, read_slaf(counted_slaf), known, given)


def test_groups_of_truths(counted, counted_slaf):
    told = counted.copy()
    told.obs["doublet"] = told.obs["doublet"].astype(str).astype("category")
    given = {"var_names": ["ENSG00003"], "groupby": "doublet"}
    for name in ("dotplot", "heatmap"):
        both(name, read_slaf(counted_slaf), told, given)


def test_three_hundred_groups(tmp_path, convert):
    adata = make_counts(1200, 10)
    adata.obs["clone"] = pd.Categorical([f"c{i % 300}" for i in range(1200)])
    path = convert(adata, "clones")
    given = {"var_names": ["ENSG00003", "ENSG00004"], "groupby": "clone"}
    for name in ("dotplot", "heatmap"):
        both(name, read_slaf(path), adata.copy(), given)


@pytest.mark.parametrize("values", ["logfoldchanges", "log10_pvals_adj", "scores"])
@pytest.mark.parametrize("kind", ["dotplot", "matrixplot"])
def test_values_of_ranked_genes(kind, values, counted, counted_slaf):
    handle, adata = read_slaf(counted_slaf), counted.copy()
    adata.var["name"] = handle.var["name"] = [f"N{i}" for i in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(adata, "donor", method="t-test")
    handle.uns["rank_genes_groups"] = adata.uns["rank_genes_groups"]
    given = {"n_genes": 3, "values_to_plot": values, "dendrogram": False}
    both(f"rank_genes_groups_{kind}", handle, adata, given)
    both(f"rank_genes_groups_{kind}", handle, adata, {**given, "gene_symbols": "name"})
    both("rank_genes_groups", handle, adata, {"gene_symbols": "name", "n_genes": 4})


@pytest.mark.parametrize("flavor", ["seurat", "seurat_v3"])
@pytest.mark.parametrize("log", [False, True])
def test_variable_genes(flavor, log, counted, counted_slaf):
    handle, adata = read_slaf(counted_slaf), counted.copy()
    if flavor == "seurat":
        sc.pp.log1p(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.highly_variable_genes(adata, flavor=flavor, n_top_genes=10)
    handle.var, handle.uns = adata.var, adata.uns
    both("highly_variable_genes", handle, adata, {"log": log})


@pytest.mark.parametrize("name", ["dotplot", "matrixplot"])
def test_values_that_are_given(name, pbmc, pbmc_slaf):
    groups = pbmc.obs["phase"].cat.categories
    table = np.arange(6).reshape(3, 2) / 5
    frame = pd.DataFrame(table, index=groups, columns=["LYZ", "CD79A"])
    given = {"var_names": ["LYZ", "CD79A"], "groupby": "phase"}
    given["dot_color_df" if name == "dotplot" else "values_df"] = frame
    both(name, read_slaf(pbmc_slaf), pbmc.copy(), given)


def test_ranks_against_a_reference(counted, counted_slaf):
    """scanpy fails on the reference, which has no values."""
    handle = read_slaf(counted_slaf)
    tl.rank_genes_groups(handle, "donor", reference="d1")
    given = {"n_genes": 2, "values_to_plot": "logfoldchanges", "dendrogram": False}
    plot = pl.rank_genes_groups_dotplot(handle, return_fig=True, **given)
    result = handle.uns["rank_genes_groups"]
    assert plot.dot_color_df.loc["d1"].isna().all()
    for group in ("d0", "d2"):
        fold = pd.Series(result["logfoldchanges"][group], index=result["names"][group])
        names = plot.dot_color_df.columns
        np.testing.assert_array_equal(plot.dot_color_df.loc[group], fold[names])
    plot.make_figure()


def test_loadings(pbmc, pbmc_slaf):
    adata, handle = pbmc.copy(), read_slaf(pbmc_slaf)
    adata.varm["PCs"] = handle.varm["PCs"] = np.random.default_rng(0).normal(size=(765, 4))
    with_show = drawing(lambda: sc.pl.pca_loadings(adata, "1,3", n_points=6))
    same(drawing(lambda: pl.pca_loadings(handle, "1,3", n_points=6)), with_show)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"use_raw": False, "expression_cutoff": -0.2, "mean_only_expressed": True},
        {"expression_cutoff": 1.5, "mean_only_expressed": True, "log": True},
        {"standard_scale": "group", "groupby": ["phase", "louvain"]},
        {"var_names": ["n_counts", "LYZ"], "groupby": "S_score", "num_categories": 3},
    ],
)
def test_means_and_shares(given, pbmc, pbmc_slaf):
    given = {**SOME, **given, "return_fig": True}
    ours, theirs = pl.dotplot(read_slaf(pbmc_slaf), **given), sc.pl.dotplot(pbmc.copy(), **given)
    for name in ("dot_color_df", "dot_size_df"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert list(one.columns) == list(other.columns)
        assert list(map(str, one.index)) == list(map(str, other.index))
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-7)
    same(drawing(ours.add_totals("descending").show), drawing(theirs.add_totals("descending").show))
