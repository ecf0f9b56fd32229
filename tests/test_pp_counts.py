"""Quality control after filters reads what the filters left out, not the matrix."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from conftest import make_counts
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.lazy.sources import StoredX
from slaf.scanpy import pp

CLOSE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    adata = make_counts(900, 300, seed=8)
    adata.var["mt"] = np.arange(300) % 60 == 3
    adata.var["none"] = False
    path = tmp_path_factory.mktemp("counts") / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    return path, adata


@pytest.fixture
def values_read(monkeypatch):
    """Numbers of the values of X that were read."""
    read, original = [], StoredX.csr

    def counting(self, rows, columns):
        arrays = original(self, rows, columns)
        read.append(len(arrays[2]))
        return arrays

    monkeypatch.setattr(StoredX, "csr", counting)
    return read


def pipeline(module, adata, steps: list[str], min_genes: int) -> None:
    for step in steps:
        if step == "qc":
            module.calculate_qc_metrics(
                adata, qc_vars=["mt", "none"], percent_top=None, inplace=True
            )
        elif step == "cells":
            module.filter_cells(adata, min_genes=min_genes)
        elif step == "genes":
            module.filter_genes(adata, min_cells=adata.n_obs // 20)
        elif step == "normalize":
            module.normalize_total(adata, target_sum=1e4)


def least_genes(adata) -> int:
    """A number of genes that a tenth of the cells does not have."""
    return int(np.quantile(np.asarray((adata.X > 0).sum(axis=1)).ravel(), 0.1))


@pytest.mark.parametrize(
    "steps",
    [
        ["qc"],
        ["cells", "qc", "genes", "qc", "normalize"],
        ["genes", "cells", "genes", "normalize"],
        ["normalize", "genes", "qc"],
    ],
    ids=", ".join,
)
def test_what_is_counted_is_scanpys(pair, steps):
    path, adata = pair
    want, got = adata.copy(), read_slaf(path)
    pipeline(sc.pp, want, steps, least_genes(adata))
    pipeline(pp, got, steps, least_genes(adata))
    assert list(got.obs_names) == list(want.obs_names)
    assert list(got.var_names) == list(want.var_names)
    for frame, known in ((got.obs, want.obs), (got.var, want.var)):
        for name in known.columns:
            if known[name].dtype.kind in "fiu":
                np.testing.assert_allclose(
                    frame[name].to_numpy(float), known[name].to_numpy(float), **CLOSE, err_msg=name
                )
    np.testing.assert_allclose(got.X.compute().toarray(), want.X.toarray(), rtol=1e-5)


def test_nothing_but_the_genes_of_masks_is_read(pair, values_read):
    path, adata = pair
    pp.calculate_qc_metrics(read_slaf(path), qc_vars=["mt"])
    assert sum(values_read) == adata[:, adata.var["mt"]].X.nnz


def test_after_a_filter_what_it_left_out_is_read(pair, values_read):
    path, adata = pair
    handle = read_slaf(path)
    pp.filter_cells(handle, min_genes=least_genes(adata))
    assert not values_read
    pp.filter_genes(handle, min_cells=45)
    left_out = adata.X.nnz - adata[handle.obs_names].X.nnz
    assert sum(values_read) == left_out > 0
    values_read.clear()
    pp.normalize_total(handle)
    kept_cells = adata[handle.obs_names]
    assert sum(values_read) == kept_cells.X.nnz - kept_cells[:, handle.var_names].X.nnz


def test_the_smaller_half_is_read(pair, values_read):
    path, adata = pair
    few = read_slaf(path)[:30]
    got = pp.calculate_qc_metrics(few, inplace=False)[1]
    assert sum(values_read) == adata[:30].X.nnz
    want = sc.pp.calculate_qc_metrics(adata[:30], percent_top=None)[1]
    np.testing.assert_allclose(got["total_counts"], want["total_counts"], **CLOSE)


def test_cells_that_are_there_twice_are_counted_twice(pair):
    path, adata = pair
    twice = np.r_[0:880, 3, 3, 5]
    got = pp.calculate_qc_metrics(read_slaf(path)[twice], inplace=False)[1]
    want = sc.pp.calculate_qc_metrics(ad.AnnData(adata.X[twice], var=adata.var), percent_top=None)
    np.testing.assert_allclose(got["total_counts"], want[1]["total_counts"], **CLOSE)
