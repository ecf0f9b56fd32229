"""The tables in `docs/scanpy.md` match scanpy and `slaf.scanpy`, which takes handles only."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import scanpy as sc
import slaf.scanpy
from slaf.integrations import read_slaf
from slaf.scanpy import pp, tl

PAGE = Path(__file__).parent.parent / "docs/scanpy.md"
PARTS = ("pp", "tl", "pl", "get")
HERE = ("lazy", "streamed", "by scanpy")
#: A function, how it runs, and notes.
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.*?) ?\|$", re.MULTILINE)


def table(part: str) -> dict[str, tuple[str, str]]:
    """How each function runs, and its notes."""
    section = PAGE.read_text().split(f"## `{part}`\n")[1].split("\n## ")[0]
    return {name: (how, notes) for name, how, notes in ROW.findall(section)}


def functions(part: str) -> dict[str, Any]:
    """scanpy's public ones."""
    module = getattr(sc, part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {
        name: value
        for name, value in every.items()
        if callable(value) and getattr(value, "__module__", "").startswith("scanpy")
    }


@pytest.mark.parametrize("part", PARTS)
def test_every_function_of_scanpy_has_a_row(part):
    assert len(functions(part)) >= 4
    assert set(functions(part)) <= set(table(part)), "Say in docs/scanpy.md how they run."
    assert {how for how, _ in table(part).values()} <= {*HERE, "directly", "not here"}
    assert sorted(table(part), key=str.lower) == list(table(part))


@pytest.mark.parametrize("part", PARTS)
def test_what_is_here_is_here_and_what_is_not_is_not(part):
    ours = getattr(slaf.scanpy, part)
    for name, (how, _) in table(part).items():
        assert callable(getattr(ours, name, None)) == (how in HERE), name


@pytest.mark.parametrize("part", PARTS)
def test_parameters_that_are_not_taken_are_named(part):
    untold = []
    for name, theirs in functions(part).items():
        how, notes = table(part)[name]
        if how not in HERE:
            continue
        taken = inspect.signature(getattr(getattr(slaf.scanpy, part), name)).parameters
        if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            continue
        wanted = list(inspect.signature(theirs).parameters)[1:]
        untold += [f"{name}: {p}" for p in wanted if p not in taken and f"`{p}`" not in notes]
    assert not untold


@pytest.mark.parametrize("part", PARTS)
def test_nothing_else_is_under_scanpys_names(part):
    ours = getattr(slaf.scanpy, part)
    names = getattr(ours, "__all__", None) or [n for n in vars(type(ours)) if n[0] != "_"]
    others = {name for name in names if name not in table(part)}
    assert all(f"`{part}.{name}`" in PAGE.read_text() for name in others), others


#: What the page says of handles and scanpy's own functions.
DIRECTLY = {
    "tl.paga_compare_paths": lambda sc, data: sc.tl.paga_compare_paths(data, data),
    "pl.DotPlot": lambda sc, data: sc.pl.DotPlot(data, ["LYZ"], "phase").make_figure(),
    "pl.MatrixPlot": lambda sc, data: sc.pl.MatrixPlot(data, ["LYZ"], "phase").make_figure(),
    "pl.StackedViolin": lambda sc, data: sc.pl.StackedViolin(data, ["LYZ"], "phase").make_figure(),
    "pl.embedding_density": lambda sc, data: sc.pl.embedding_density(
        data, "umap", key="umap_density_phase", show=False
    ),
    "pl.paga": lambda sc, data: sc.pl.paga(data, show=False),
    "pl.paga_compare": lambda sc, data: sc.pl.paga_compare(data, basis="umap", show=False),
    "pl.pca_scatter": lambda sc, data: sc.pl.pca_scatter(data, show=False),
    "pl.scrublet_score_distribution": lambda sc, data: sc.pl.scrublet_score_distribution(
        data, show=False
    ),
    "pl.spatial": lambda sc, data: sc.pl.spatial(data, basis="umap", spot_size=1, show=False),
}


@pytest.fixture(scope="module")
def analysed(real):
    handle = read_slaf(real[0])
    pp.neighbors(handle)
    tl.paga(handle, groups="bulk_labels")
    tl.embedding_density(handle, basis="umap", groupby="phase")
    pp.scrublet(handle, threshold=0.3)
    return handle


@pytest.mark.filterwarnings("ignore")
def test_what_scanpy_does_directly(analysed):
    rows = {f"{p}.{n}" for p in PARTS for n, (how, _) in table(p).items() if how == "directly"}
    assert rows == set(DIRECTLY)
    for name, call in DIRECTLY.items():
        try:
            call(sc, analysed)
        except Exception as error:
            raise AssertionError(f"sc.{name} does not take a handle") from error
        finally:
            plt.close("all")


@pytest.mark.filterwarnings("ignore")
def test_scanpys_functions_without_a_matrix(real):
    handle, adata = read_slaf(real[0]), real[1].copy()
    for module, tools, data in ((pp, tl, handle), (sc.pp, sc.tl, adata)):
        module.neighbors(data)
        tools.diffmap(data)
        data.uns["iroot"] = 3
        tools.dpt(data)
        tools.embedding_density(data, basis="umap", groupby="phase")
        tools.paga(data, groups="bulk_labels")
    for name in ("dpt_pseudotime", "umap_density_phase"):
        assert abs(handle.obs[name].to_numpy() - adata.obs[name].to_numpy()).max() < 1e-4
    assert list(tl.paga_degrees(handle)) == list(sc.tl.paga_degrees(adata))
    tl.rank_genes_groups(handle, "bulk_labels")
    adata.uns["rank_genes_groups"] = handle.uns["rank_genes_groups"]
    markers = {"mono": {"LYZ", "CST3"}, "b": {"CD79A"}}
    ours = tl.marker_gene_overlap(handle, markers)
    assert ours.equals(sc.tl.marker_gene_overlap(adata, markers))


def test_anndata_objects_are_for_scanpy(real):
    adata = real[1]
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
