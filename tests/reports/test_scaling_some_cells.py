"""`pp.scale(mask_obs=...)` scales only the cells of the mask, as scanpy does."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from conftest import dense
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.integrations.scanpy import clear_transformations
from slaf.scanpy import pp

CLOSE = dict(rtol=1e-4, atol=1e-5)
OPTIONS = [
    {},
    {"max_value": 0.5},
    {"zero_center": False},
    {"zero_center": False, "max_value": 0.5},
]


@pytest.fixture(params=["csr", "dense"])
def both(request, counts, tmp_path):
    if request.param == "dense":
        counts.X = dense(counts.X)
    counts.obs["some"] = np.arange(60) % 3 == 0
    counts.layers["whole"] = counts.X.astype(np.int64)
    SLAFConverter().convert_anndata(counts, tmp_path / "x.slaf")
    return read_slaf(tmp_path / "x.slaf"), counts


def scaled(both, mask, *, before=False, **options):
    for module, data in zip((pp, sc.pp), both, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if before:
                module.normalize_total(data, target_sum=1e4)
                module.log1p(data)
            module.scale(data, mask_obs=mask, **options)
    return both


def same(found, wanted):
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(dense(found), dense(wanted), **CLOSE)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("before", [False, True])
def test_the_other_cells_keep_their_values(options, before, both):
    """scverse/scanpy#2234"""
    handle, adata = scaled(both, "some", before=before, **options)
    same(handle.X, adata.X)
    same(handle[50:4:-3, 7:30].X, adata[50:4:-3, 7:30].X)
    np.testing.assert_allclose(handle.X.sum(0), np.ravel(adata.X.sum(0)), rtol=1e-3, atol=1e-2)
    columns = ["mean of some", "std of some"]
    assert set(adata.var) == set(handle.var) >= set(columns)
    for name in columns:
        np.testing.assert_allclose(handle.var[name], adata.var[name], **CLOSE)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_layer_of_integers_becomes_floats(options, both):
    """scverse/scanpy#2234"""
    mask = np.arange(60) > 40
    handle, adata = scaled(both, mask, layer="whole", **options)
    same(handle.layers["whole"], adata.layers["whole"])
    same(handle.X, adata.X)
    for name in ("mean with mask", "std with mask"):
        np.testing.assert_allclose(handle.var[name], adata.var[name], **CLOSE)


@pytest.mark.parametrize("chosen", [[], [7], range(60)], ids=["none", "one", "all"])
@pytest.mark.parametrize("zero_center", [True, False])
def test_of_no_cell_of_one_and_of_all(chosen, zero_center, both):
    """scverse/scanpy#2234"""
    mask = np.isin(np.arange(60), chosen)
    handle, adata = scaled(both, mask, zero_center=zero_center)
    same(handle.X, adata.X)


def test_twice_with_two_masks_is_each_group_by_itself(both):
    """scverse/scanpy#2142"""
    mask = both[1].obs["some"].to_numpy()
    scaled(both, mask, zero_center=False)
    handle, adata = scaled(both, ~mask, zero_center=False, max_value=1)
    same(handle.X, adata.X)
    assert isinstance(handle.to_adata(), ad.AnnData)
    same(handle[mask].copy().X, adata[mask].X)


def test_what_is_scaled_is_stored_and_taken_back(both, tmp_path):
    """scverse/scanpy#2234"""
    stored = dense(both[1].X).copy()
    both[0].obs["gaps"] = both[1].obs["gaps"] = both[1].obs["some"].astype("boolean")
    handle, adata = scaled(both, "gaps", max_value=2)
    handle.write_slaf(tmp_path / "y.slaf")
    same(read_slaf(tmp_path / "y.slaf").X, adata.X)
    np.testing.assert_array_equal(dense(clear_transformations(handle).X), stored)


@pytest.mark.parametrize("mask", ["nope", np.arange(60), np.ones(59, bool)], ids=str)
def test_what_is_no_mask_is_refused_and_nothing_changes(mask, both):
    """scverse/scanpy#2234"""
    handle, adata = both
    with pytest.raises(ValueError, match="mask|nope"):
        pp.scale(handle, mask_obs=mask)
    same(handle.X, adata.X)
