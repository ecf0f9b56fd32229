"""Saving: changes to a handle reach its dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from checks import assert_same
from conftest import dense, make_counts
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.scanpy import pp
from slafdb_calls import check_what_slafdb_reads, slafdb


@pytest.fixture
def source(tmp_path):
    adata = make_counts()
    adata.layers["log"] = adata.X.log1p()
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    adata.obsp["near"] = sparse.random(60, 60, 0.1, "csr", random_state=0, dtype=np.float32)
    adata.uns["kept"] = {"a": 1}
    path = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(adata, path)
    return path, adata


def change(data) -> None:
    rng = np.random.default_rng(1)
    data.obs["leiden"] = pd.Categorical(rng.choice(["0", "1", "2"], 60), ["2", "1", "0"])
    data.obs["n_genes"] = np.arange(60)
    data.obs["note"] = [None if i % 5 == 0 else f"n{i}" for i in range(60)]
    data.obs["nCount.RNA"] = rng.normal(size=60)
    data.var["highly_variable"] = np.arange(40) % 3 == 0
    data.obsm["X_umap"] = rng.normal(size=(60, 2))
    data.obsm["X_pca"] = rng.normal(size=(60, 3)).astype(np.float32)
    data.obsm["frame"] = pd.DataFrame({"a": rng.normal(size=60)}, index=data.obs_names)
    data.varm["PCs"] = rng.normal(size=(40, 3))
    data.layers["half"] = sparse.csr_matrix(np.ones((60, 40)) * np.arange(40) * 0.5)
    data.obsp["far"] = sparse.random(60, 60, 0.05, "csr", random_state=1, dtype=np.float32)
    data.varp["alike"] = np.eye(40, dtype=np.float32)
    data.uns["more"] = {"b": np.arange(3)}


def test_everything_comes_back(source):
    path, adata = source
    handle = read_slaf(path)
    change(handle)
    change(adata)
    assert handle.save() == 2
    assert_same(handle.to_adata(), adata)
    assert_same(read_slaf(path).to_adata(), adata)
    part = read_slaf(path)[[50, 3, 3], ::-4]
    np.testing.assert_array_equal(
        part.layers["half"].toarray(), dense(adata.layers["half"])[[50, 3, 3]][:, ::-4]
    )
    # The version before is as it was.
    before = read_slaf(path, version=1)
    assert "leiden" not in before.obs
    assert before.obsm["X_pca"].shape == (60, 4)
    assert "half" not in before.layers
    assert "more" not in before.uns


def test_slafdb_sees_it(source, tmp_path):
    path, adata = source
    handle = read_slaf(path)
    for data in (handle, adata):
        change(data)
        # slafdb has no word for these.
        del data.obsm["frame"], data.obs["note"], data.obs["nCount.RNA"]
    handle.save(obs=["leiden", "n_genes"], obsm=True, layers=True, obsp=True)
    check_what_slafdb_reads(path, adata, tmp_path)


def test_only_what_is_named_is_stored(source):
    path, _ = source
    handle = read_slaf(path)
    change(handle)
    handle.save(obs="leiden", obsm=["X_umap"])
    again = read_slaf(path)
    assert "leiden" in again.obs
    assert "note" not in again.obs
    assert again.obsm.keys() == ["X_pca", "X_umap"]
    assert again.layers.keys() == ["log"]
    handle.save()
    assert "note" in read_slaf(path).obs
    assert read_slaf(path).slaf.version == 3


def test_what_is_not_saved_stays_in_the_handle(source):
    path, adata = source
    handle = read_slaf(path)
    change(handle)
    del handle.obs["donor"]
    assert_same(read_slaf(path).to_adata(), adata)


def test_nothing_of_the_tables_is_rewritten(source):
    path, _ = source
    files = {f for f in path.rglob("*.lance") if f.is_file()}
    inodes = {f: (f.stat().st_ino, f.stat().st_mtime_ns) for f in files}
    handle = read_slaf(path)
    handle.obs["new"] = np.arange(60)
    handle.layers["two"] = handle.X * 2
    handle.save()
    for file, state in inodes.items():
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == state
    np.testing.assert_array_equal(
        read_slaf(path).layers["two"].toarray(), 2 * read_slaf(path).X.toarray()
    )
    np.testing.assert_allclose(
        read_slaf(path).layers["log"].toarray(), np.log1p(read_slaf(path).X.toarray()), rtol=1e-6
    )


def test_results_of_preprocessing(source):
    path, adata = source
    handle = read_slaf(path)
    pp.calculate_qc_metrics(handle)
    pp.normalize_total(handle)
    pp.log1p(handle)
    pp.pca(handle, n_comps=3)
    handle.layers["norm"] = handle.X
    handle.save()
    again = read_slaf(path)
    np.testing.assert_array_equal(again.X.toarray(), dense(adata.X))
    np.testing.assert_allclose(again.layers["norm"].toarray(), handle.X.toarray())
    np.testing.assert_allclose(again.obsm["X_pca"], handle.obsm["X_pca"])
    np.testing.assert_allclose(again.obs["total_counts"], dense(adata.X).sum(1))
    # X of the dataset are the counts still.
    assert "log1p" not in again.uns
    assert again.slaf.query("SELECT SUM(total_counts) AS s FROM cells")["s"][0] == adata.X.sum()


def test_write_through(source):
    path, _ = source
    handle = read_slaf(path, write_through=True)
    handle.obs["new"] = np.arange(60)
    handle.uns["u"] = 3
    again = read_slaf(path)
    assert list(again.obs["new"]) == list(range(60))
    assert again.uns["u"] == 3


def test_slafdbs_dataset_takes_columns(tmp_path):
    adata = make_counts()
    adata.write_h5ad(tmp_path / "x.h5ad")
    slafdb("convert", tmp_path / "x.h5ad", tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    before = handle.to_adata()
    handle.obs["kind"] = pd.Categorical(["b", "a"] * 30, ["b", "a"], ordered=True)
    handle.layers["two"] = handle.X * 2
    handle.save()
    again = read_slaf(tmp_path / "x.slaf").to_adata()
    pd.testing.assert_series_equal(again.obs["kind"], handle.obs["kind"])
    pd.testing.assert_frame_equal(again.obs[before.obs.columns], before.obs)
    np.testing.assert_array_equal(dense(again.layers["two"]), 2 * dense(adata.X))
    slafdb("read", tmp_path / "x.slaf", tmp_path / "read.npz")
    got = np.load(tmp_path / "read.npz")
    assert list(got["obs/kind"]) == ["b", "a"] * 30
    np.testing.assert_array_equal(got["layers/two"], 2 * dense(adata.X))


def test_what_cannot_be_saved_says_so(source):
    path, adata = source
    handle = read_slaf(path)
    handle.obs["new"] = 1
    for wrong, word in (
        (lambda: handle[:5].save(), "convert_handle"),
        (lambda: handle.save(obs=["doublett"]), "Did you mean `doublet`"),
        (lambda: handle.save(observations=True), "and not observations"),
    ):
        with pytest.raises((ValueError, TypeError), match=word):
            wrong()
    assert_same(read_slaf(path).to_adata(), adata)


def test_of_two_writers_one_is_told(source):
    path, _ = source
    first, second = read_slaf(path), read_slaf(path)
    first.obs["mine"] = 1
    second.obs["yours"] = 2
    first.save()
    with pytest.raises(OSError, match="somebody else"):
        second.save()
    again = read_slaf(path)
    assert "mine" in again.obs
    assert "yours" not in again.obs
    again.obs["yours"] = 2
    again.save()
    assert list(read_slaf(path).obs["yours"]) == [2] * 60


def test_a_save_that_fails_changes_nothing(source):
    path, adata = source
    handle = read_slaf(path)
    handle.obs["new"] = 1
    handle.layers["bad.name"] = handle.X
    with pytest.raises(ValueError, match="dots"):
        handle.save()
    assert_same(read_slaf(path).to_adata(), adata)
    del handle.layers["bad.name"]
    handle.save()
    assert "new" in read_slaf(path).obs
