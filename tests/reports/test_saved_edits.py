"""Changes to a handle, made in any way, are in the dataset after `save()`. The expected
result is an AnnData in memory with the same changes."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from checks import assert_same
from handle_edits import EDITS, N, made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("edits") / "x.slaf"
    SLAFConverter().convert_anndata(made(), path)
    return path


def check(path, folder, edits) -> None:
    import shutil

    target = folder / "x.slaf"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(path, target)
    handle, adata = read_slaf(target), made()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in edits:
            failed = []
            for data in (handle, adata):
                try:
                    EDITS[name](data)
                except (KeyError, ValueError, AttributeError) as error:
                    failed.append(error)
            # An earlier edit may have taken away what this one needs, from both.
            assert len(failed) in (0, 2), (name, failed)
        version = handle.save()
        again = read_slaf(target)
        for data in (handle, again):
            assert_same(data.to_adata(), adata)
            assert (data.raw is None) == (adata.raw is None)
            if adata.raw is not None:
                assert_same_raw(data.raw, adata.raw)
        assert handle.save() == version
        assert_same(read_slaf(target, version=1).to_adata(), made())


def assert_same_raw(ours, theirs) -> None:
    np.testing.assert_array_equal(ours.X.toarray(), theirs.X.toarray())
    pd.testing.assert_frame_equal(pd.DataFrame(ours.var), theirs.var)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_in_the_dataset_after_save(stored, tmp_path, edit):
    """scverse/anndata#811 changes to obs do not flush; #612 update obs of a subset"""
    check(stored, tmp_path, [edit])


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edits=st.lists(st.sampled_from(sorted(EDITS)), min_size=2, max_size=6))
def test_any_edits_after_each_other_are_in_the_dataset(stored, tmp_path, edits):
    """scverse/anndata#811 changes to obs do not flush"""
    check(stored, tmp_path, edits)


@pytest.fixture
def handle(stored, tmp_path):
    import shutil

    shutil.copytree(stored, tmp_path / "x.slaf")
    return read_slaf(tmp_path / "x.slaf")


def again(handle):
    return read_slaf(handle.slaf.slaf_path)


@pytest.mark.parametrize("reading", ["nothing", "columns", "all", "sliced", "pickled"])
def test_looking_is_no_change(handle, reading):
    """scverse/anndata#1840 what is only looked at"""
    if reading == "columns":
        handle.obs["cat"], handle.obs["n"].mean(), handle.obs_names, handle.obsm["X_pca"]
    elif reading == "all":
        handle.to_adata(), handle.obs.groupby("kind").size(), dict(handle.obsm), dict(handle.uns)
        dict(handle.obsp), dict(handle.varp), handle.raw.var["f"]
    elif reading == "sliced":
        handle = handle[:][:, :].copy()
    elif reading == "pickled":
        handle = pickle.loads(pickle.dumps(handle))
    assert handle.save() == 1
    assert again(handle).slaf.version == 1


def test_columns_that_nobody_looked_at_are_not_read(handle, monkeypatch):
    """scverse/anndata#1840 an edit of one column costs no other"""
    from slaf.lazy.columns import Stored

    read, whole = [], Stored._decoded

    def decoded(self, name, rows):
        read.append(name)
        return whole(self, name, rows)

    monkeypatch.setattr(Stored, "_decoded", decoded)
    handle.obs["n"] = handle.obs["n"] + 1
    handle.save()
    assert set(read) == {"n"}


def test_rows_that_obs_alone_has_lost_are_told(handle):
    """scverse/anndata#441 obs of another length"""
    handle.obs.drop(index="c0", inplace=True)
    with pytest.raises(SlafError, match="7 rows, and the dataset 8 cells"):
        handle.save()
    assert again(handle).slaf.version == 1


def test_rows_that_were_added_are_told(handle):
    """scverse/anndata#441 obs of another length"""
    handle.obsm["frame"].loc["another"] = 1.0
    with pytest.raises(SlafError, match="`obsm/frame` has 9 rows, and the dataset 8 cells"):
        handle.save()
    assert again(handle).slaf.version == 1


def test_a_lazy_matrix_says_how_it_is_written_to(handle):
    """scverse/anndata#894 X of a view is that of the parent"""
    with pytest.raises(SlafError, match="handle.X = x"):
        handle.X[0, 0] = 1


def test_names_given_twice_are_told(handle):
    """scverse/anndata#811 what was changed is not in the file"""
    handle.obs.rename(columns={"n": "score"}, inplace=True)
    with pytest.raises(SlafError, match="`score` twice"):
        handle.save()
    assert again(handle).slaf.version == 1


def test_what_has_no_form_is_told_before_anything_is_written(handle):
    """scverse/anndata#865 values of uns that are lost when written"""
    files = sorted(_path(handle).rglob("*"))
    handle.obs["fine"] = 1
    handle.uns["bad"] = object()
    with pytest.raises(SlafError, match="uns/bad"):
        handle.save()
    assert sorted(_path(handle).rglob("*")) == files
    del handle.uns["bad"]
    handle.save()
    assert "fine" in again(handle).obs


def _path(handle):
    from pathlib import Path

    return Path(handle.slaf.slaf_path)


def test_a_deleted_column_is_named(handle):
    """scverse/anndata#811 one deletion of several"""
    del handle.obs["n"], handle.obs["kind"]
    with pytest.raises(ValueError, match="knd"):
        handle.save(obs=["knd"])
    handle.save(obs=["kind"])
    assert [name in again(handle).obs for name in ("kind", "n")] == [False, True]
    handle.save(obs=False)
    assert "n" in again(handle).obs
    handle.save()
    assert "n" not in again(handle).obs


@pytest.mark.parametrize(
    "names",
    [
        range(N),
        [float(i) for i in range(N)],
        pd.CategoricalIndex(list("abcdefgh")),
        pd.Index(pd.array(list("abcdefgh"), dtype="string")),
        np.array(list("abcdefgh"), dtype="S"),
        [True, False] * (N // 2),
    ],
    ids=repr,
)
def test_names_are_text(handle, names):
    """scverse/anndata#84 an index of numbers; #299 names and the indices of frames"""
    texts = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    frame = handle.obs.copy()
    handle.obs_names = names
    assert handle.obs_names.tolist() == texts
    if len(set(texts)) == N:
        assert handle[texts[3]].obs["n"].tolist() == [3]
    handle.save()
    found = again(handle)
    assert found.obs_names.tolist() == texts
    answer = found.slaf.query("SELECT n FROM cells WHERE cell_id = $c", c=texts[-1])
    assert N - 1 in answer["n"].to_list()
    frame.index = names
    found.obs = frame
    assert found.obs_names.tolist() == texts


def test_write_through_stores_deletions_and_names(stored, tmp_path):
    """scverse/anndata#811 changes are in the file at once"""
    import shutil

    shutil.copytree(stored, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf", write_through=True)
    del handle.obs["n"], handle.obsm["ints"], handle.uns["d"]
    handle.obs_names = [f"n{i}" for i in range(N)]
    found = again(handle)
    assert "n" not in found.obs
    assert "ints" not in found.obsm
    assert "d" not in found.uns
    assert found.obs_names[0] == "n0"
