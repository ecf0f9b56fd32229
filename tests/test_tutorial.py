"""scanpy's clustering tutorial on an exported handle, including plots; and on the handle
itself, with the same clusters."""

from __future__ import annotations

import matplotlib
import pytest
import scanpy as sc
from slaf.data import SLAFConverter
from slaf.datasets import write_synthetic
from slaf.integrations import read_slaf
from slaf.scanpy import pp, tl

matplotlib.use("agg")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    write_synthetic(folder / "x.h5ad", 1500, 2500, seed=4)
    SLAFConverter().convert(folder / "x.h5ad", folder / "x.slaf")
    return folder / "x.slaf"


def steps(adata, pp, tl) -> None:
    """From counts to markers; `pp` and `tl` are scanpy's or ours."""
    adata.var["mt"] = adata.var_names.str.startswith("MT-")
    pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=[20], log1p=True, inplace=True)
    pp.filter_cells(adata, min_genes=100)
    pp.filter_genes(adata, min_cells=3)
    adata.layers["counts"] = adata.X.copy()
    pp.normalize_total(adata, target_sum=1e4)
    pp.log1p(adata)
    pp.highly_variable_genes(adata, n_top_genes=500, batch_key=None)
    pp.pca(adata)
    pp.neighbors(adata)
    tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    tl.umap(adata)
    tl.rank_genes_groups(adata, groupby="leiden", method="wilcoxon")


def plots(adata) -> None:
    marker = adata.uns["rank_genes_groups"]["names"][0][0]
    sc.pl.violin(adata, ["n_genes_by_counts", "total_counts"], show=False)
    sc.pl.scatter(adata, "total_counts", "n_genes_by_counts", show=False)
    sc.pl.highly_variable_genes(adata.var, show=False)
    sc.pl.pca_variance_ratio(adata, n_pcs=20, show=False)
    sc.pl.umap(adata, color=["leiden", marker], show=False)
    sc.pl.rank_genes_groups_dotplot(adata, n_genes=3, show=False)
    sc.pl.rank_genes_groups(adata, show=False)


def test_on_the_export(dataset):
    adata = read_slaf(dataset).to_adata()
    steps(adata, sc.pp, sc.tl)
    plots(adata)
    assert adata.obs["leiden"].nunique() > 1


def test_on_the_handle(dataset):
    want = read_slaf(dataset).to_adata()
    steps(want, sc.pp, sc.tl)
    handle = read_slaf(dataset)
    steps(handle, pp, tl)
    assert handle.shape == want.shape
    both = sc.metrics.confusion_matrix(
        "ours", "theirs",
        want.obs.assign(ours=handle.obs["leiden"].to_numpy(), theirs=want.obs["leiden"].to_numpy()),
        normalize=False,
    )  # fmt: skip
    assert (both.max(axis=1).sum() / want.n_obs) > 0.98
    for adata in (handle, handle.to_adata()):
        plots(adata)
    handle[:, handle.var["highly_variable"]].to_adata()
