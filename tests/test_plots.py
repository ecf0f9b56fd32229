"""What is drawn of a handle is what scanpy draws of the same data in memory."""

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
from scipy import sparse
from slaf import concat, pl, read_slaf
from slaf.scanpy import pp

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
    ("correlation_matrix", {"groupby": "bulk_labels", "show_correlation_numbers": True, "cmap": "RdBu"}),
    ("highest_expr_genes", {"n_top": 5, "log": True}),
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


def both(name, ours, theirs, given):
    """Draws with slaf and with scanpy, and compares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = drawing(lambda: getattr(sc.pl, name)(theirs, show=False, **given))
        found = drawing(lambda: getattr(pl, name)(ours, show=False, **given))
    same(found, expected)


def without_show(name):
    return name in ("pca_variance_ratio", "pca_loadings")


@pytest.mark.parametrize("call", CALLS, ids=told)
def test_what_scanpy_draws(call, pbmc, pbmc_slaf):
    name, given = call
    both(name, read_slaf(pbmc_slaf), pbmc.copy(), given)
