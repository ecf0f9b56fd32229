"""Marker genes of many and of few groups: scanpy's results, from the gene-major copy or
without it, in tasks of any size."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse, stats
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.lazy import gene_groups, stream
from slaf.scanpy import pp, tl

CELLS, GENES = 300, 70
SCORES = ("scores", "pvals", "pvals_adj", "logfoldchanges")


def counts() -> ad.AnnData:
    """Counts of 70 genes. Some genes are special: no values, in one cell, in one group
    only, the same in all cells, great and few."""
    rng = np.random.default_rng(11)
    x = rng.poisson(rng.gamma(0.4, 3, GENES), (CELLS, GENES)).astype(np.float32)
    kind = np.array(list("aabbbcdd"))[rng.integers(0, 8, CELLS)].astype(object)
    kind[::37] = None
    x[:, 3], x[:, 4], x[:, 5], x[:, 6] = 0, 0, 0, 2
    x[17, 4], x[::50, 7] = 3, 70_000
    x[kind == "b", 5] = rng.integers(1, 5, (kind == "b").sum())
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical(kind),
            "many": pd.Categorical([f"p{i}" for i in rng.permutation(np.arange(CELLS) // 4)]),
        },
        index=[f"c{i}" for i in range(CELLS)],
    )
    var = pd.DataFrame(index=[f"g{i}" for i in range(GENES)])
    adata = ad.AnnData(sparse.csr_matrix(x), obs=obs, var=var)
    adata.layers["shifted"] = adata.X * np.float32(0.3)
    return adata


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("markers")
    for name, gene_index in (("by gene", True), ("by cell", False)):
        SLAFConverter().convert_anndata(counts(), folder / f"{name}.slaf", gene_index=gene_index)
    return folder


@pytest.fixture(params=["by gene", "by cell"])
def handle(paths, request):
    return read_slaf(paths / f"{request.param}.slaf")


def logs(handle) -> ad.AnnData:
    """Takes logarithms lazily, and gives scanpy the same values, as ranks tell the last
    bit."""
    pp.normalize_total(handle, target_sum=1e3)
    pp.log1p(handle)
    return in_memory(handle)


def in_memory(handle) -> ad.AnnData:
    adata = ad.AnnData(handle.X.compute(), obs=handle.obs.copy(), var=handle.var[[]].copy())
    adata.uns["log1p"] = {"base": None}
    return adata


def by_gene(found, column: str, group: str) -> pd.Series:
    return pd.Series(found[column][group], found["names"][group]).sort_index()


def agree(handle, adata, groupby: str, rtol: float = 2e-5, **options) -> None:
    """Compares all columns, gene by gene: genes of the same score come in any order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(adata, groupby, **options)
    tl.rank_genes_groups(handle, groupby, **options)
    got, want = (data.uns["rank_genes_groups"] for data in (handle, adata))
    assert got["params"].items() >= want["params"].items()
    assert got["names"].dtype.names == want["names"].dtype.names
    for group in want["names"].dtype.names:
        for column in SCORES:
            ours, theirs = (by_gene(found, column, group) for found in (got, want))
            np.testing.assert_allclose(
                ours, theirs, rtol=rtol, atol=1e-5, err_msg=f"{group} {column}"
            )
    for table in ("pts", "pts_rest"):
        if table in want:
            pd.testing.assert_frame_equal(got[table], want[table])


@pytest.mark.parametrize("pending", [False, True], ids=["counts", "logarithms"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tie_correct": True, "pts": True},
        {"groups": ["b", "d"], "tie_correct": True, "pts": True},
        {"reference": "c", "tie_correct": True, "pts": True},
        {"groups": ["a"], "reference": "d"},
        {"corr_method": "bonferroni", "tie_correct": True},
    ],
    ids=str,
)
def test_wilcoxon_is_scanpys(handle, options, pending):
    """scverse/scanpy#698, scverse/rapids-singlecell#650: ties, and some of the groups."""
    adata = logs(handle) if pending else in_memory(handle)
    agree(handle, adata, "kind", method="wilcoxon", **options)


@pytest.mark.parametrize("method", ["t-test", "t-test_overestim_var"])
@pytest.mark.parametrize(
    "options", [{"pts": True}, {"groups": ["b"]}, {"reference": "c", "pts": True}], ids=str
)
def test_t_tests_are_scanpys(handle, options, method):
    """The rest of a gene that one group has varies by nothing."""
    agree(handle, logs(handle), "kind", method=method, **options)


@pytest.mark.parametrize("method", ["t-test", "wilcoxon"])
@pytest.mark.parametrize("reference", ["rest", "p7"])
def test_many_small_groups(handle, method, reference):
    # Of four cells, scanpy's variances have four digits.
    options = {"method": method, "reference": reference, "pts": True}
    agree(handle, logs(handle), "many", rtol=1e-3, **options)


@pytest.mark.parametrize("method", ["t-test", "wilcoxon"])
@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_parts_in_another_order(handle, method):
    """The cells and genes of a handle that was sliced, before and after steps."""
    rng = np.random.default_rng(2)
    part = handle[rng.permutation(CELLS)[:200]]
    logs(part)
    part = part[::-1, rng.permutation(GENES)[:40]]
    agree(part, in_memory(part), "kind", method=method)
    twice = handle[np.arange(CELLS) // 2]
    agree(twice, in_memory(twice), "kind", method=method)


def test_a_layer_and_what_is_scaled_without_a_mean(handle):
    adata = in_memory(handle)
    adata.layers["shifted"] = handle.layers["shifted"].compute()
    agree(handle, adata, "kind", method="wilcoxon", layer="shifted", tie_correct=True)
    pp.scale(handle, zero_center=False, max_value=1)
    agree(handle, in_memory(handle), "kind", method="wilcoxon", tie_correct=True)


@pytest.mark.parametrize("negative", [False, True])
def test_dense_values_below_and_above_zero(handle, negative):
    """immunogenomics/presto#7: a dense matrix."""
    logs(handle)
    if negative:
        pp.scale(handle, max_value=1)
    else:
        handle.X = handle.X.compute().toarray()
    agree(handle, in_memory(handle), "kind", method="wilcoxon", tie_correct=True)


@pytest.mark.parametrize("by_absolute", [False, True])
def test_the_first_genes(handle, by_absolute):
    adata = logs(handle)
    options = {"method": "wilcoxon", "n_genes": 5, "rankby_abs": by_absolute}
    sc.tl.rank_genes_groups(adata, "kind", **options)
    tl.rank_genes_groups(handle, "kind", **options)
    got, want = (data.uns["rank_genes_groups"] for data in (handle, adata))
    for group in want["names"].dtype.names:
        assert list(got["names"][group]) == list(want["names"][group])
        np.testing.assert_allclose(got["scores"][group], want["scores"][group], rtol=1e-5)


def test_two_groups_either_way_round(handle):
    """scverse/scanpy#754."""
    found = {}
    for group, reference in ("ab", "ba"):
        tl.rank_genes_groups(handle, "kind", groups=[group], reference=reference, method="wilcoxon")
        result = handle.uns["rank_genes_groups"]
        found[group] = {column: by_gene(result, column, group) for column in SCORES}
    np.testing.assert_allclose(found["a"]["pvals"], found["b"]["pvals"], rtol=1e-12)
    np.testing.assert_allclose(found["a"]["scores"], -found["b"]["scores"], rtol=1e-6)


def test_ranks_are_scipys(handle):
    """immunogenomics/presto#29: zeros are ties, and a gene without values differs nowhere."""
    adata = in_memory(handle)
    tl.rank_genes_groups(
        handle, "kind", groups=["a"], reference="b", method="wilcoxon", tie_correct=True
    )
    found = by_gene(handle.uns["rank_genes_groups"], "pvals", "a")
    x = adata.X.toarray().astype(np.float64)
    x = {k: x[adata.obs["kind"] == k] for k in "ab"}
    for at, gene in enumerate(adata.var_names):
        of_gene = [x[k][:, at] for k in "ab"]
        with np.errstate(invalid="ignore"):
            want = stats.mannwhitneyu(*of_gene, method="asymptotic", use_continuity=False)
        assert found[gene] == pytest.approx(np.nan_to_num(want.pvalue, nan=1.0), rel=1e-9), gene


@pytest.mark.parametrize("method", ["t-test", "wilcoxon"])
@pytest.mark.parametrize("reference", ["rest", "c"])
def test_tasks_of_any_size_give_the_same_bits(paths, monkeypatch, method, reference):
    """scverse/scanpy#469: genes at the borders of tasks."""

    def found(name: str) -> dict[str, bytes]:
        handle = read_slaf(paths / f"{name}.slaf")
        logs(handle)
        options = {"method": method, "reference": reference, "tie_correct": True, "pts": True}
        tl.rank_genes_groups(handle, "kind", **options)
        result = handle.uns["rank_genes_groups"]
        bits = {column: result[column].tobytes() for column in SCORES}
        return {
            **bits,
            "names": result["names"].tolist(),
            "pts": result["pts"].to_numpy().tobytes(),
        }

    whole = found("by gene")
    monkeypatch.setattr(gene_groups, "_OUTPUTS", 40)
    assert found("by gene") == whole
    monkeypatch.setattr(stream.columns_of_a_block, "__defaults__", (1_000,))
    assert found("by gene") == whole
    # The columns that are held are the same, too.
    assert found("by cell") == whole
