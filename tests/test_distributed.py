"""Each function on 1, 2 and 3 workers of each engine has the same result as without, to
the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from slaf import concat
from slaf.data import SLAFConverter
from slaf.ground.workers import working
from slaf.integrations import read_slaf
from slaf.lazy import search, stream, tasks
from slaf.scanpy import pp, tl

CELLS = 700


def quality(handle) -> Any:
    return pp.calculate_qc_metrics(
        handle[3:, 2:], qc_vars=["mt"], percent_top=(5, 50), inplace=False
    )


def filtered(handle) -> Any:
    part = handle[3:, 2:].copy()
    # The stored sums do not tell those of logarithms.
    pp.log1p(part)
    pp.filter_cells(part, min_counts=200)
    pp.filter_genes(part, min_cells=20)
    return part.obs, part.var


def normalised(handle) -> Any:
    part = handle[:, 1:].copy()
    pp.normalize_total(part, target_sum=None, exclude_highly_expressed=True, key_added="factor")
    return part.obs


def logarithms(handle) -> Any:
    part = handle[5:].copy()
    pp.normalize_total(part)
    pp.log1p(part)
    return part


def variable(**options: Any) -> Callable[[Any], Any]:
    def verb(handle) -> Any:
        part = handle[5:].copy() if "v3" in options["flavor"] else logarithms(handle)
        return pp.highly_variable_genes(part, inplace=False, **options)

    return verb


def components(**options: Any) -> Callable[[Any], Any]:
    def verb(handle) -> Any:
        part = logarithms(handle)
        pp.pca(part, n_comps=8, **options)
        return part.obsm["X_pca"], part.varm["PCs"], part.uns["pca"]["variance"]

    return verb


def scaled(handle) -> Any:
    part = logarithms(handle)
    pp.scale(part, max_value=5)
    pp.pca(part, n_comps=8)
    return part.var, part.obsm["X_pca"]


def ranked(**options: Any) -> Callable[[Any], Any]:
    def verb(handle) -> Any:
        part = logarithms(handle)
        tl.rank_genes_groups(part, "kind", **options)
        found = part.uns["rank_genes_groups"]
        return [found[key] for key in ("names", "scores", "pvals", "logfoldchanges")]

    return verb


def reductions(handle) -> Any:
    x = logarithms(handle).X
    names = ("sum", "mean", "var", "min", "max", "getnnz")
    return [getattr(x, name)(axis=axis) for name in names for axis in (0, 1, None)]


def of_other_sources(handle) -> Any:
    """A layer, a matrix in memory, handles below each other, genes × cells."""
    held = handle[:, :100].copy()
    held.X = sparse.csr_matrix(held.X.compute(), dtype=np.float64) / 3
    both = concat({"a": handle[:100], "b": handle[50:, ::2]}, index_unique="-")
    matrices = [handle.layers["third"][4:], held.X[::2], both.X, handle.X.T]
    return [matrix.var(axis=axis) for matrix in matrices for axis in (0, 1)]


def neighbours(handle) -> Any:
    queries = np.asarray(handle.obsm["X_pca"])[::100]
    whole = handle.obsm.search("X_pca", queries, k=7, exact=True)
    some = handle.obsm.search("X_pca", queries, k=7, metric="cosine", filter=range(0, 300, 3))
    return whole.indices, whole.distances, some.indices, some.distances


VERBS: dict[str, Callable[[Any], Any]] = {
    "calculate_qc_metrics": quality,
    "filter": filtered,
    "normalize_total": normalised,
    "highly_variable_genes": variable(flavor="seurat", n_top_genes=50),
    "highly_variable_genes of batches": variable(flavor="seurat", batch_key="kind"),
    "highly_variable_genes cell_ranger": variable(flavor="cell_ranger", n_top_genes=50),
    "highly_variable_genes seurat_v3": variable(flavor="seurat_v3", n_top_genes=50, span=0.5),
    "pca": components(),
    "pca randomized": components(svd_solver="randomized"),
    "pca of scaled": scaled,
    "t-test": ranked(method="t-test", pts=True),
    "wilcoxon": ranked(method="wilcoxon", tie_correct=True),
    "wilcoxon of two": ranked(method="wilcoxon", reference="b"),
    "reductions": reductions,
    "other sources": of_other_sources,
    "search": neighbours,
}


@pytest.fixture(autouse=True)
def _many_tasks(monkeypatch):
    """Of blocks of about 60 cells, and of 50 genes."""
    monkeypatch.setattr(stream.rows_of_a_block, "__defaults__", (20_000,))
    monkeypatch.setattr(tasks, "_BLOCKS", 2)
    monkeypatch.setattr(stream.columns_of_a_block, "__defaults__", (20_000,))
    monkeypatch.setattr(search, "_VALUES_OF_A_TASK", 5_000)


@pytest.fixture(scope="session")
def path(pbmc, tmp_path_factory) -> Path:
    """Real cells; X are counts, and a layer of theirs has fractions."""
    adata = ad.AnnData(pbmc.raw.X.copy(), obs=pbmc.obs[[]].copy(), var=pbmc.raw.var.copy())
    adata.X.data = np.round(np.expm1(adata.X.data))
    adata.var["mt"] = np.arange(adata.n_vars) % 50 == 0
    adata.obs["kind"] = pd.Categorical(np.array(list("abcab"))[np.arange(CELLS) % 5])
    adata.obsm["X_pca"] = pbmc.obsm["X_pca"].astype(np.float32)
    adata.layers["third"] = adata.X / 3
    path = tmp_path_factory.mktemp("distributed") / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    return path


def plain(found: Any) -> list[Any]:
    """All arrays of an answer."""
    if isinstance(found, pd.DataFrame):
        return [found.index.to_numpy(), *(found[name].to_numpy() for name in found)]
    if isinstance(found, np.recarray):
        return [found[name] for name in found.dtype.names]
    if isinstance(found, (tuple, list)):
        return [array for part in found for array in plain(part)]
    return [np.asarray(found)]


def same_bits(got: Any, want: Any) -> None:
    got, want = plain(got), plain(want)
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if ours.dtype.kind == "f":
            # Zeros of both signs and NaN are told apart, too.
            assert ours.tobytes() == theirs.tobytes()
        else:
            np.testing.assert_array_equal(ours, theirs)


#: What each verb gives without workers.
_ALONE: dict[str, Any] = {}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb(workers, path, verb):
    if verb not in _ALONE:
        with working(None):
            _ALONE[verb] = VERBS[verb](read_slaf(path))
    before = workers.tally.tasks
    got = VERBS[verb](read_slaf(path))
    assert workers.tally.tasks - before > 3
    same_bits(got, _ALONE[verb])


def test_the_last_bit_is_of_the_bounds(path, monkeypatch):
    """With others sums differ, so that equal ones say something."""
    first = logarithms(read_slaf(path)).X.var(axis=0)
    monkeypatch.setattr(tasks, "_BLOCKS", 3)
    second = logarithms(read_slaf(path)).X.var(axis=0)
    assert first.tobytes() != second.tobytes()
    np.testing.assert_allclose(first, second)
