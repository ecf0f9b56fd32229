"""AnnData in zarr, as a folder or as a zip file."""

from __future__ import annotations

import shutil
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from checks import assert_same
from conftest import dense, make_counts
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

zarr = pytest.importorskip("zarr")


@pytest.fixture(params=["2", "3"])
def version(request):
    """Of the format."""
    if request.param == "3" and zarr.__version__.startswith("2"):
        pytest.skip("zarr 2 knows no version 3")
    with ad.settings.override(zarr_write_format=int(request.param)):
        yield request.param


def everything(kind: str) -> ad.AnnData:
    adata = make_counts()
    adata.strings_to_categoricals()
    adata.X = dense(adata.X) if kind == "dense" else adata.X.asformat(kind)
    adata.layers["csc"] = sparse.csc_matrix(adata.X)
    adata.layers["dense"] = dense(adata.X) * 2
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    adata.obsm["frame"] = pd.DataFrame({"a": np.arange(60)}, index=adata.obs_names)
    adata.obsp["near"] = sparse.random(60, 60, 0.1, "csr", random_state=0, dtype=np.float32)
    adata.uns["kept"] = {"text": "é", "numbers": np.arange(3)}
    adata.raw = adata.copy()
    return adata


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_a_zarr_store_comes_through(tmp_path, version, kind):
    """scverse/anndata#219"""
    adata = everything(kind)
    adata.write_zarr(tmp_path / "x.zarr", chunks=(7, 9) if kind == "dense" else None)
    shutil.make_archive(str(tmp_path / "x.zarr"), "zip", tmp_path / "x.zarr")
    for name in ("x.zarr", "x.zarr.zip"):
        SLAFConverter().convert(tmp_path / name, tmp_path / "x.slaf", overwrite=True)
        got = read_slaf(tmp_path / "x.slaf").to_adata()
        assert_same(got, adata)
        assert got.uns["kept"]["text"] == "é"
        np.testing.assert_array_equal(dense(got.raw.X), dense(adata.X))


def test_what_cannot_be_read_of_a_store_is_skipped(tmp_path, version):
    """scverse/anndata#1347"""
    adata = everything("csr")
    adata.write_zarr(tmp_path / "x.zarr")
    node = zarr.open_group(str(tmp_path / "x.zarr"), mode="r+")["obsm/X_pca"]
    node.attrs["encoding-type"] = "weird"
    zarr.consolidate_metadata(str(tmp_path / "x.zarr"))
    with pytest.raises(SlafError, match="`obsm/X_pca` is encoded as `weird`.*--skip obsm/X_pca"):
        SLAFConverter().convert(tmp_path / "x.zarr", tmp_path / "x.slaf")
    SLAFConverter().convert(tmp_path / "x.zarr", tmp_path / "x.slaf", skip=["obsm/X_pca"])
    assert list(read_slaf(tmp_path / "x.slaf").obsm) == ["frame"]


def test_stores_in_a_folder_are_inputs(tmp_path):
    """scverse/anndata#219"""
    (tmp_path / "in").mkdir()
    for number in (1, 2):
        make_counts(20, seed=number).write_zarr(tmp_path / "in" / f"{number}.zarr")
    SLAFConverter().convert(tmp_path / "in", tmp_path / "x.slaf", unique_cells=True)
    assert read_slaf(tmp_path / "x.slaf").shape == (40, 40)


def test_other_things_in_zarr(tmp_path):
    """scverse/spatialdata#298: which of its tables is meant"""
    group = zarr.open_group(str(tmp_path / "spatial.zarr"), mode="w")
    adata = make_counts()
    adata.strings_to_categoricals()
    write_elem(group.require_group("tables"), "table", adata)
    with pytest.raises(SlafError, match=r"is SpatialData.*tables/table"):
        SLAFConverter().convert(tmp_path / "spatial.zarr", tmp_path / "x.slaf")
    SLAFConverter().convert(tmp_path / "spatial.zarr" / "tables" / "table", tmp_path / "x.slaf")
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(SlafError, match="has no `obs`"):
        SLAFConverter().convert(tmp_path / "other.zarr", tmp_path / "y.slaf")


def test_without_zarr_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    """scverse/anndata#219"""
    make_counts().write_zarr(tmp_path / "x.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(SlafError, match="pip install zarr"):
        SLAFConverter().convert(tmp_path / "x.zarr", tmp_path / "x.slaf")
