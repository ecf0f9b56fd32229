"""After any `save()`, what a dataset says about its X is true."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from conftest import dense, make_counts
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.pp.transform import clear_transformations
from slaf.scanpy import pp


@pytest.fixture
def handle(tmp_path):
    SLAFConverter().convert_anndata(make_counts(), tmp_path / "x.slaf")
    return read_slaf(tmp_path / "x.slaf")


def again(handle):
    return read_slaf(handle.slaf.slaf_path)


def logged(data, module) -> None:
    module.normalize_total(data, target_sum=1e4)
    module.log1p(data)


@pytest.fixture(scope="module")
def theirs() -> ad.AnnData:
    adata = make_counts()
    logged(adata, sc.pp)
    return adata


OTHERWISE = {
    "normalize_total and log1p": lambda h: logged(h, pp),
    "normalize_total": pp.normalize_total,
    "scale": pp.scale,
    "`times`": lambda h: setattr(h, "X", h.X * 2),
    "was set": lambda h: setattr(h, "X", h.X.compute()),
    "was taken away": lambda h: setattr(h, "X", None),
}


@pytest.mark.parametrize("how", OTHERWISE)
def test_another_x_is_not_dropped_in_silence(handle, how):
    """scverse/scanpy#2181 uns['log1p'] is another after saving and reading"""
    OTHERWISE[how](handle)
    handle.obs["new"] = 1
    with pytest.raises(SlafError, match=f"{how}.*save\\(X=False\\).*write_slaf") as told:
        handle.save()
    assert "\n" not in str(told.value)
    assert again(handle).slaf.version == 1
    handle.save(X=False)
    found = again(handle)
    assert "new" in found.obs
    assert "log1p" not in found.uns
    np.testing.assert_array_equal(found.X.toarray(), dense(make_counts().X))


def test_it_is_saved_as_a_layer(handle, theirs):
    """scverse/scanpy#2181 uns['log1p'] is another after saving and reading"""
    logged(handle, pp)
    handle.save(X="lognorm")
    found = again(handle)
    np.testing.assert_allclose(found.layers["lognorm"].toarray(), dense(theirs.X), rtol=1e-5)
    np.testing.assert_array_equal(found.X.toarray(), dense(make_counts().X))
    assert "log1p" not in found.uns
    assert "log1p" in handle.uns
    assert "lognorm" in handle.layers
    # It is stored: nobody is asked again, until X is another once more.
    handle.obs["later"] = 2
    assert handle.save() == 3
    assert handle.save() == 3
    assert "later" in again(handle).obs
    pp.scale(handle)
    with pytest.raises(SlafError, match="normalize_total and log1p and scale"):
        handle.save()
    handle.save(X="scaled")
    assert again(handle).layers.keys() == ["lognorm", "scaled"]
    del handle.layers["scaled"]
    with pytest.raises(SlafError, match="scale"):
        handle.save()


def test_it_is_the_x_of_a_dataset_of_its_own(handle, theirs, tmp_path):
    """scverse/scanpy#2181 uns['log1p'] is another after saving and reading"""
    logged(handle, pp)
    handle.write_slaf(tmp_path / "new.slaf")
    found = read_slaf(tmp_path / "new.slaf")
    np.testing.assert_allclose(found.X.toarray(), dense(theirs.X), rtol=1e-5)
    assert "log1p" in found.uns
    with pytest.raises(FileExistsError):
        handle.write_slaf(tmp_path / "new.slaf")
    found.obs["new"] = 1
    found.save()
    assert "log1p" in again(found).uns
    # What its dataset says of X stays when another X is left out.
    del found.uns["log1p"]
    found.X = handle.X
    found.save(X=False)
    assert "log1p" in again(found).uns


def test_a_dataset_without_x_gets_one_in_a_new_dataset(tmp_path):
    """scverse/anndata#811 what was changed is not in the file"""
    adata = make_counts()
    x, adata.X = adata.X, None
    SLAFConverter().convert_anndata(adata, tmp_path / "none.slaf")
    handle = read_slaf(tmp_path / "none.slaf")
    handle.write_slaf(tmp_path / "still.slaf")
    assert read_slaf(tmp_path / "still.slaf").X is None
    handle.X = x
    handle.write_slaf(tmp_path / "one.slaf")
    np.testing.assert_array_equal(read_slaf(tmp_path / "one.slaf").X.toarray(), dense(x))


def test_named_sections_ask_nothing(handle):
    """scverse/anndata#811 one column of many"""
    logged(handle, pp)
    handle.obs["leiden"], handle.obs["other"] = "0", 1
    handle.save(obs=["leiden"])
    assert "other" not in again(handle).obs
    handle.save(obs=True, uns=True)
    assert "other" in again(handle).obs
    assert "log1p" not in again(handle).uns
    with pytest.raises(SlafError, match="log-transformed"):
        handle.save(uns=["log1p"])


def test_a_logged_layer_is_not_x(handle):
    """scverse/scanpy#2181 uns['log1p'] is another after saving and reading"""
    handle.layers["norm"] = handle.X
    pp.log1p(handle, layer="norm")
    handle.save()
    found = again(handle)
    assert "log1p" not in found.uns
    np.testing.assert_allclose(found.layers["norm"].toarray(), np.log1p(found.X.toarray()))


def test_what_the_user_says_of_x_is_stored(handle):
    """scverse/scanpy#2239 uns["log1p"]["base"] set by hand"""
    handle.uns["log1p"] = {"base": 2.0}
    handle.save()
    assert again(handle).uns["log1p"]["base"] == 2.0


def test_steps_that_are_taken_back_leave_x(handle):
    """scverse/scanpy#2181 uns['log1p'] is another after saving and reading"""
    logged(handle, pp)
    clear_transformations(handle, inplace=True)
    assert handle.save() == 1


def test_write_through_and_log1p(tmp_path):
    """scverse/scanpy#2181 uns['log1p'] is another after saving and reading"""
    SLAFConverter().convert_anndata(make_counts(), tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf", write_through=True)
    logged(handle, pp)
    handle.obs["new"] = 1
    assert "log1p" not in again(handle).uns
    assert "new" in again(handle).obs


def test_raw_is_what_was_set(handle, theirs):
    """scverse/anndata#811 what was changed is not in the file"""
    logged(handle, pp)
    handle.raw = handle
    handle.save(X=False)
    for data in (handle, again(handle)):
        np.testing.assert_allclose(data.raw.X.toarray(), dense(theirs.X), rtol=1e-5)
        assert list(data.raw.var_names) == list(theirs.var_names)
    assert handle.save(X=False) == 2
    handle.raw = handle[:, :5]
    handle.save(X=False, raw=False)
    assert again(handle).raw.shape == (60, 40)
    handle.save(raw=True)
    assert again(handle).raw.shape == (60, 5)
    assert read_slaf(handle.slaf.slaf_path, version=2).raw.shape == (60, 40)
    handle.raw.var["mine"] = 1
    handle.save(X=False)
    assert "mine" in again(handle).raw.var
    del handle.raw
    handle.save(X=False)
    assert again(handle).raw is None
