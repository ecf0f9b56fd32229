"""Plots that raise a clear error, and names of several genes or cells."""

from __future__ import annotations

import warnings

import matplotlib
import pytest
import scanpy as sc
from conftest import make_counts
from drawings import drawing, same
from matplotlib import pyplot
from slaf import SLAFArray, concat, pl, read_slaf
from slaf.scanpy import tl

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture
def handle(pbmc_slaf):
    return read_slaf(pbmc_slaf)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("dotplot", {"var_names": ["CD79a"], "groupby": "phase"}, "Did you mean `CD79A`"),
        ("dotplot", {"var_names": "LYZ", "groupby": "luovain"}, "Did you mean `louvain`"),
        ("heatmap", {"var_names": "LYZ", "groupby": "phse"}, "Did you mean `phase`"),
        ("heatmap", {"var_names": {"a": "LYZ2"}, "groupby": "phase"}, "Did you mean `LYZ`"),
        ("violin", {"keys": "n_gene"}, "Did you mean `n_genes`"),
        ("umap", {"color": "louvian"}, "Did you mean `louvain`"),
        ("umap", {"color": "LYZ", "layer": "counts"}, "'counts' is not in layers"),
        ("embedding", {"basis": "umpa"}, "Did you mean `X_umap`"),
        ("tsne", {}, "obsm has no 'tsne' nor 'X_tsne'"),
        ("scatter", {"x": "LYZ", "y": "n_count"}, "Did you mean `n_counts`"),
        ("dotplot", {"var_names": "LYZ", "groupby": None}, "names no column"),
        ("heatmap", {"var_names": "LYZ", "groupby": []}, "names no column"),
        ("dotplot", {"var_names": {"a": []}, "groupby": "phase"}, "names no gene"),
        (
            "dotplot",
            {"var_names": "LYZ", "groupby": "phase", "categories_order": ["S", "G1"]},
            "`categories_order` names each group with cells, and no other: G2M",
        ),
        (
            "stacked_violin",
            {"var_names": "LYZ", "groupby": "phase", "categories_order": ["S", "G1"]},
            "G2M",
        ),
        ("scatter", {"x": "LYZ"}, "Give `x` and `y`"),
        (
            "dotplot",
            {"var_names": "A", "groupby": "phase", "gene_symbols": "mean"},
            "raw.var has no column 'mean' of gene symbols",
        ),
        ("rank_genes_groups", {"groups": ["CD34"]}, "Did you mean `CD34\\+`"),
        ("rank_genes_groups_dotplot", {"key": "ranks"}, "uns has no 'ranks'"),
        ("rank_genes_groups_dotplot", {"n_genes": 2, "var_names": ["LYZ"]}, "not both"),
        ("rank_genes_groups_dotplot", {"values_to_plot": "score"}, "Did you mean `scores`"),
        ("highly_variable_genes", {}, "pp.highly_variable_genes"),
        ("qc", {}, "calculate_qc_metrics"),
        ("umap", {"use_raw": True, "layer": "x"}, "excludes"),
        ("umap", {"shade": True, "projection": "3d"}, "shade=False"),
    ],
)
def test_refused_with_a_sentence(name, given, said, handle):
    with pytest.raises((KeyError, ValueError), match=said) as refused:
        getattr(pl, name)(handle, show=False, **given)
    assert "\n" not in str(refused.value)


def test_names_of_several_genes(convert):
    adata = make_counts()
    adata.var_names = ["A", "A", *adata.var_names[2:]]
    adata.var["symbol"] = ["S", "S", *adata.var["symbol"][2:]]
    handle = read_slaf(convert(adata))
    plain = make_counts()
    given = {"var_names": ["ENSG00003"], "groupby": "stage", "show": False}
    same(
        drawing(lambda: pl.dotplot(handle, **given)), drawing(lambda: sc.pl.dotplot(plain, **given))
    )
    for name in ("dotplot", "heatmap"):
        with pytest.raises(ValueError, match="'A' is the name of 2 genes"):
            getattr(pl, name)(handle, "A", "stage")
    handle.var_names_make_unique()
    for name in ("dotplot", "heatmap"):
        with pytest.raises(ValueError, match="'S' is the name of 2 genes"):
            getattr(pl, name)(handle, "S", "stage", gene_symbols="symbol")


def test_symbols_of_genes_of_raw(handle, pbmc):
    """An embedding finds them in var, other plots in raw.var."""
    adata = pbmc.copy()
    adata.var["symbol"] = handle.var["symbol"] = [f"S{i}" for i in range(adata.n_vars)]
    given = {"color": ["S7", "LYZ"], "gene_symbols": "symbol", "show": False}
    same(drawing(lambda: pl.umap(handle, **given)), drawing(lambda: sc.pl.umap(adata, **given)))
    for name in ("dotplot", "heatmap"):
        with pytest.raises(KeyError, match="raw.var has no column 'symbol'"):
            getattr(pl, name)(handle, "S7", "phase", gene_symbols="symbol")


@pytest.mark.parametrize("name", ["dotplot", "heatmap", "violin", "correlation_matrix"])
def test_no_cell_is_of_a_group(name, handle):
    given = {"keys": "LYZ"} if name == "violin" else {"var_names": "LYZ"}
    given = {"groupby": "phase", **(given if name != "correlation_matrix" else {})}
    with pytest.raises(ValueError, match="No cell is of a group of 'phase'"):
        getattr(pl, name)(handle[:0], **given)
    handle.obs["phase"] = None
    with pytest.raises(ValueError, match="No cell is of a group of 'phase'"):
        getattr(pl, name)(handle, **given)


@pytest.mark.parametrize("name", ["dotplot", "heatmap", "violin", "umap"])
def test_names_of_several_cells(name, handle):
    given = {"keys": "LYZ"} if name == "violin" else {"var_names": ["LYZ", "n_genes"]}
    given = {"color": ["phase", "LYZ"]} if name == "umap" else {"groupby": "phase", **given}
    twice = concat([handle[:300], handle[:300]])
    once = concat([handle[:300], handle[:300]], index_unique="-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = drawing(lambda: getattr(pl, name)(twice, show=False, **given))
    same(found, drawing(lambda: getattr(pl, name)(once, show=False, **given)))


def test_what_is_both_a_column_and_a_gene(handle):
    handle.obs["LYZ"] = 1.0
    for name in ("dotplot", "heatmap"):
        with pytest.raises(KeyError, match="LYZ"):
            getattr(pl, name)(handle, ["LYZ"], "phase")


@pytest.mark.parametrize("name", ["dotplot", "matrixplot", "heatmap"])
def test_a_symbol_that_is_the_name_of_another_gene(name, convert):
    adata = make_counts()
    adata.var["symbol"] = [*adata.var_names[1:], "last"]
    handle = read_slaf(convert(adata))
    given = {"var_names": ["ENSG00004", "ENSG00007"], "groupby": "stage", "show": False}
    given["gene_symbols"] = "symbol"
    ours = drawing(lambda: getattr(pl, name)(handle, **given))
    same(ours, drawing(lambda: getattr(sc.pl, name)(adata, **given)))


def test_groups_by_several_columns_are_text(convert):
    handle = read_slaf(convert(make_counts()))
    with pytest.raises(TypeError, match="'n_genes' is int64"):
        pl.dotplot(handle, "ENSG00003", ["stage", "n_genes"])


def test_ranks_of_some_genes_have_no_values_to_plot(convert):
    handle = read_slaf(convert(make_counts()))
    tl.rank_genes_groups(handle, "stage", n_genes=5)
    with pytest.raises(ValueError, match="stored of 5 of 40 genes"):
        pl.rank_genes_groups_dotplot(handle, values_to_plot="scores")
    tl.rank_genes_groups(handle, "stage")
    with pytest.raises(ValueError, match="groups of 'stage', not of 'batch'"):
        pl.rank_genes_groups_matrixplot(handle, values_to_plot="scores", groupby="batch")


def test_neither_handle_nor_anndata(pbmc_slaf):
    with pytest.raises(TypeError, match="not PosixPath.*read_slaf"):
        pl.umap(pbmc_slaf)
    with pytest.raises(TypeError, match="not SLAFArray"):
        pl.qc(SLAFArray(pbmc_slaf))
    with pytest.raises(TypeError, match="`dotplot` needs `groupby`"):
        pl.dotplot(read_slaf(pbmc_slaf), ["LYZ"])
    with pytest.raises(TypeError, match="too many positional"):
        pl.umap(read_slaf(pbmc_slaf), "louvain")
