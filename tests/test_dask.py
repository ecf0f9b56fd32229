"""Lazy matrices as dask arrays: what workers read, and scanpy's results on them."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
from contextlib import contextmanager

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import slaf
from cloud_calls import assert_plain
from conftest import make_counts
from fixtures_clusters import once
from packaging.version import Version
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.lazy.plan import MatrixPlan
from slaf.scanpy import pp

da = pytest.importorskip("dask.array")


@pytest.fixture(scope="module")
def counts() -> ad.AnnData:
    rng = np.random.default_rng(0)
    mean = rng.gamma(0.5, 1, 300)
    x = rng.poisson(mean * rng.gamma(2, 0.5, (600, 1))).astype(np.float32)
    adata = ad.AnnData(
        sparse.csr_matrix(x),
        obs=pd.DataFrame({"kind": pd.Categorical(rng.choice(list("abc"), 600))}),
        var=pd.DataFrame({"mt": np.arange(300) < 20}),
    )
    adata.obs_names, adata.var_names = (
        "c" + adata.obs_names.astype(str),
        "g" + adata.var_names.astype(str),
    )
    adata.layers["half"] = adata.X * 0.5
    return adata


@pytest.fixture(scope="module")
def path(counts, tmp_path_factory) -> str:
    target = tmp_path_factory.mktemp("dask") / "x.slaf"
    SLAFConverter().convert_anndata(counts, target)
    return str(target)


def same(array, matrix) -> None:
    """A dask array holds what the lazy matrix does, in blocks of the same kind."""
    want, got = matrix.compute(), array.compute(scheduler="sync")
    assert array.shape == want.shape and array.dtype == want.dtype == got.dtype
    assert type(got) is type(want) is type(array.blocks[0].compute(scheduler="sync"))
    np.testing.assert_array_equal(values(got), values(want))


def values(x) -> np.ndarray:
    if hasattr(x, "dask"):
        x = x.compute(scheduler="sync")
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


def test_blocks_hold_what_the_matrix_does(path):
    handle = read_slaf(path)
    array = handle.X.to_dask(100)
    assert array.chunks == ((100,) * 6, (300,))
    assert isinstance(array._meta, sparse.csr_matrix)
    same(array, handle.X)
    same(handle.layers["half"].to_dask((250, 90)), handle.layers["half"])
    mask = handle.obs["kind"] == "b"
    part = handle[mask, ["g7", "g3", "g200"]]
    same(part.X.to_dask(7), part.X)
    same(part.layers["half"].to_dask(), part.layers["half"])
    same(part.X.T.to_dask((2, 50)), part.X.T)
    assert handle.X.to_dask().chunks[1] == (300,)
    assert handle.X.to_dask("auto").chunks == handle.X.to_dask((None, -1)).chunks
    assert handle[:0].X.to_dask().compute().shape == (0, 300)
    assert array.name != handle.X.to_dask(100).name


def test_pending_steps_and_joined_handles_are_done_by_the_blocks(path):
    handle = read_slaf(path)
    pp.normalize_total(handle, target_sum=1e4)
    pp.log1p(handle)
    same(handle[50:333, ::2].X.to_dask(60), handle[50:333, ::2].X)
    joined = slaf.concat({"a": handle[:100], "b": read_slaf(path)[::3, 5:200]}, index_unique="-")
    same(joined.X.to_dask(64), joined.X)
    joined.X = joined.X.compute()
    same(joined.X.to_dask(64), joined.X)
    pp.scale(handle, max_value=3)
    array = handle.X.to_dask(200)
    assert isinstance(array._meta, np.ndarray)
    same(array, handle.X)


def test_nothing_is_read_on_building_and_slices_are_read_alone(path, monkeypatch):
    handle = read_slaf(path)
    read, compute = [], MatrixPlan.compute

    def noted(plan, format="csr"):
        read.append(plan.shape)
        return compute(plan, format)

    monkeypatch.setattr(MatrixPlan, "compute", noted)
    adata = handle.to_adata(dask=True)
    array = adata.X
    assert read == []
    sliced = handle.X.to_dask(100)[150:160, 20:50]
    assert sliced.compute(scheduler="sync").shape == (10, 30)
    assert read == [(10, 30)]
    # Nor are names sent along, though millions of cells have some.
    assert len(pickle.dumps(array.dask)) < 5000


def test_to_adata_of_dask_has_the_rest_as_ever(path, counts):
    handle = read_slaf(path)[10:50]
    lazy, real = handle.to_adata(dask=True), handle.to_adata()
    assert isinstance(lazy.layers["half"], da.Array)
    assert lazy.X.shape == lazy.layers["half"].shape == real.shape
    pd.testing.assert_frame_equal(lazy.obs, real.obs)
    computed = lazy.to_memory()
    np.testing.assert_array_equal(values(computed.X), values(real.X))
    np.testing.assert_array_equal(values(computed.layers["half"]), values(real.layers["half"]))
    # With scanpy's and anndata's own slices: names, masks, and below each other.
    some = lazy[["c45", "c11"], lazy.var["mt"]].copy()
    np.testing.assert_array_equal(
        values(some.X), counts[["c45", "c11"], counts.var["mt"]].X.toarray()
    )
    np.testing.assert_array_equal(values(ad.concat([lazy, lazy[:3]]).X)[40:], values(real.X)[:3])


def logged(adata):
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return [adata.X]


def scaled(adata):
    sc.pp.scale(adata, zero_center=False, max_value=3)
    return [adata.X]


def filtered(adata):
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.filter_genes(adata, min_cells=30)
    return [adata.X, adata.obs["n_counts"], adata.var["n_cells"]]


def measured(adata):
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], percent_top=(5, 20), inplace=True)
    return [adata.obs.drop(columns="kind"), adata.var]


def variable(flavor, **more):
    def run(adata):
        logged(adata)
        sc.pp.highly_variable_genes(adata, flavor=flavor, n_top_genes=50, **more)
        return [adata.var]

    run.__name__ = flavor + "".join(more)
    return run


def components(adata):
    logged(adata)
    sc.pp.pca(adata, n_comps=5, svd_solver="covariance_eigh")
    return [np.abs(values(adata.obsm["X_pca"])), np.abs(adata.varm["PCs"])]


def marked(adata):
    logged(adata)
    sc.tl.rank_genes_groups(adata, "kind", method="t-test")
    return [np.array(adata.uns["rank_genes_groups"]["scores"].tolist())]


def counted(adata):
    sc.pp.highly_variable_genes(adata, flavor="seurat_v3", n_top_genes=50, batch_key="kind")
    return [adata.var]


def aggregated(adata):
    made = sc.get.aggregate(adata, "kind", ["sum", "mean", "var", "count_nonzero"])
    return list(made.layers.values())


#: scanpy takes dask arrays in these from its version 1.12 on.
_NEWER = pytest.mark.skipif(
    Version(sc.__version__) < Version("1.12"),
    reason=f"scanpy {sc.__version__} takes no dask array here",
)


@pytest.mark.parametrize(
    "work",
    [
        logged,
        scaled,
        filtered,
        measured,
        variable("seurat"),
        variable("cell_ranger"),
        variable("seurat", batch_key="kind"),
        components,
        marked,
        pytest.param(counted, marks=_NEWER),
        pytest.param(aggregated, marks=_NEWER),
    ],
    ids=lambda work: work.__name__,
)
def test_scanpy_gives_what_it_gives_in_memory(path, work):
    handle = read_slaf(path)
    lazy = handle.to_adata()
    lazy.X = handle.X.to_dask(100)
    for got, want in zip(work(lazy), work(handle.to_adata()), strict=True):
        if isinstance(want, pd.DataFrame):
            pd.testing.assert_frame_equal(got, want, rtol=1e-4, atol=1e-4, check_dtype=False)
        else:
            np.testing.assert_allclose(values(got), values(want), rtol=1e-4, atol=1e-3)


def test_workers_read_for_themselves(dask_client, path):
    handle = read_slaf(path)
    pp.log1p(handle)
    array = handle[::2].X.to_dask(50)
    assert (array.compute() != handle[::2].X.compute()).nnz == 0
    where = array.map_blocks(lambda x: np.array([[os.getpid()]]), dtype=int, chunks=(1, 1))
    assert os.getpid() not in where.compute()


def test_a_killed_worker_loses_nothing(dask_client, path, tmp_path):
    matrix = read_slaf(path).X
    flag = tmp_path / "killed"

    def kill(block):
        if once(flag):
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    array = matrix.to_dask(60)
    # dask would try it here to learn what it gives.
    array = array.map_blocks(kill, meta=array._meta)
    assert (array.compute() != matrix.compute()).nnz == 0
    assert flag.exists()


def test_what_is_appended_meanwhile_is_not_seen(dask_client, tmp_path):
    path, more = tmp_path / "x.slaf", tmp_path / "more.h5ad"
    adata = make_counts(60, 40)
    SLAFConverter().convert_anndata(adata, path)
    array = read_slaf(path).X.to_dask(16)
    later = make_counts(30, 40, seed=1)
    later.obs_names = "later-" + later.obs_names
    later.write_h5ad(more)
    SLAFConverter().append(more, path)
    assert read_slaf(path).shape == (90, 40)
    np.testing.assert_array_equal(array.compute().toarray(), adata.X.toarray())


def test_a_dataset_that_is_another_or_gone_is_told(dask_client, tmp_path):
    path = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(60, 40), path)
    array = read_slaf(path).X.to_dask(16)
    SLAFConverter().convert_anndata(make_counts(60, 40, seed=1), path, overwrite=True)
    with pytest.raises(SlafError, match="written anew since it was opened elsewhere") as error:
        array.compute()
    assert_plain(str(error.value), str(path))
    array = read_slaf(path).X.to_dask(16)
    shutil.rmtree(path)
    with pytest.raises((SlafError, OSError)) as error:
        array.compute()
    assert_plain(str(error.value), str(path))


def test_a_bucket_is_read_by_the_workers(dask_client, cloud, pbmc_url, pbmc_slaf):
    array = read_slaf(pbmc_url).X.to_dask(200)
    with environment_of(dask_client, cloud.environment):
        got = array.compute()
    np.testing.assert_array_equal(values(got), values(read_slaf(pbmc_slaf).X.compute()))


def test_workers_without_credentials_say_so(dask_client, cloud, pbmc_url):
    array = read_slaf(pbmc_url).X.to_dask(200)
    # They find the server, which moto lets anybody into; a cloud's would not.
    without = {name: "" for name in cloud.environment if "KEY" in name}
    with (
        environment_of(dask_client, cloud.environment | without),
        cloud.faults(error_every=1, error_status=403) as fault,
        pytest.raises(OSError) as error,
    ):
        array.compute()
    assert fault.hits
    assert_plain(str(error.value), pbmc_url)


@contextmanager
def environment_of(client, changes):
    """The workers' environment with `changes`."""
    client.run(lambda: os.environ.update(changes))
    try:
        yield
    finally:
        client.run(lambda: [os.environ.pop(name, None) for name in changes])


@pytest.mark.parametrize("chunks", ["x", 0, (1, 2, 3), -5, 2.5])
def test_chunks_that_are_none_are_told(path, chunks):
    with pytest.raises(ValueError, match="is the rows of a block, or"):
        read_slaf(path).X.to_dask(chunks)


def test_without_dask_it_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(ImportError, match=r"pip install 'slaf-jupyter\[dask\]'"):
        read_slaf(path).X.to_dask()
