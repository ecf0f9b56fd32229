"""Handles in other processes: they take the place of the data, and what is in memory."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from checks import assert_same
from conftest import rich
from slaf import SLAFArray, SlafError, concat
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slaf.integrations import read_slaf
from slaf.scanpy import pp


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("pickles") / "x.slaf"
    SLAFConverter().convert_anndata(rich(), path)
    return path


def edited(handle):
    handle.obs["new"] = np.arange(60)
    handle.obs.loc["cell-3", "score"] = 5.0
    handle.obsm["X_pca"][:, 0] = 7
    handle.uns["deep"]["more"] = 1
    handle.layers["set"] = handle.X.compute() * 2
    handle.obs_names = [f"n{i}" for i in range(60)]
    return handle


def logged(handle):
    pp.normalize_total(handle)
    pp.log1p(handle)
    return handle


def joined(handle):
    return concat([handle[:9], handle[20:30, 3:]], join="outer", label="run", index_unique="-")


HANDLES = {
    "whole": lambda h: h,
    "edited": edited,
    "slice": lambda h: h[5:40:3, ::-2],
    "list": lambda h: h[[3, 1, 1]].copy(),
    "steps": logged,
    "steps of a slice": lambda h: logged(h[5:20].copy())[::2],
    "edited and sliced": lambda h: edited(h)[3:9],
    "transposed": lambda h: h.T,
    "joined": joined,
    "joined and sliced": lambda h: joined(h)[3:15, ::-1],
}


@pytest.mark.parametrize("kind", HANDLES)
def test_a_handle_comes_back_the_same(path, kind):
    """scverse/anndata#1105 backed objects cannot be sent to other processes"""
    handle = HANDLES[kind](read_slaf(path))
    want = handle.to_adata()
    for other in (pickle.loads(pickle.dumps(handle)), copy.deepcopy(handle), copy.copy(handle)):
        assert_same(other.to_adata(), want)
        assert other.X.obs_names.equals(handle.obs_names)
        assert (other.raw is None) == (handle.raw is None)
        name = handle.obs_names[0]
        if handle.obs_names.is_unique:
            np.testing.assert_array_equal(other.X[name].toarray(), want[name].X.toarray())
            np.testing.assert_array_equal(other[name].X.toarray(), want[name].X.toarray())
        other.obs["mine"] = 1
        assert "mine" not in handle.obs


def test_what_is_in_the_dataset_is_not_sent(path):
    """dask/dask#8760 open files cannot be pickled"""
    handle = read_slaf(path)
    handle.to_adata(), handle.obs["n_genes"], handle.X.obs_names
    assert len(pickle.dumps(read_slaf(path))) < 5_000
    for small in (handle.X, handle[3:5].X, handle.layers["log"], handle.slaf):
        assert len(pickle.dumps(small)) < 5_000


@pytest.mark.parametrize(
    "of", [lambda h: h.X, lambda h: h[3:9, ::-2].layers["log"], lambda h: h.X.T]
)
def test_a_matrix_comes_back_the_same(path, of):
    """scverse/anndata#1105 backed objects cannot be sent to other processes"""
    for prepared in (lambda h: h, edited, logged):
        matrix = of(prepared(read_slaf(path)))
        other = pickle.loads(pickle.dumps(matrix))
        np.testing.assert_array_equal(other.toarray(), matrix.toarray())
        assert other.obs_names.equals(matrix.obs_names)
        assert other.var_names.equals(matrix.var_names)


def test_an_array_comes_back_at_its_version(path, tmp_path):
    """scverse/anndata#1105 backed objects cannot be sent to other processes"""
    SLAFConverter().convert_anndata(rich(), tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    handle.obs["new"] = 1
    before = pickle.dumps(handle.slaf)
    handle.save()
    assert "new" not in pickle.loads(before).obs.columns
    assert "new" in pickle.loads(pickle.dumps(handle.slaf)).obs.columns
    assert handle.slaf.slaf_path == copy.deepcopy(handle.slaf).slaf_path


def _sums(handle):
    return handle.X.sum(0), list(handle.obs_names), handle.obs["n_genes"].sum()


def test_another_process_reads_the_same(path):
    """doraadong/UNIFAN#5 datasets in worker processes"""
    handles = [read_slaf(path)[::2], logged(read_slaf(path)), joined(read_slaf(path))]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(_sums, handles)
    for (sums, names, total), handle in zip(found, handles, strict=True):
        want = _sums(handle)
        np.testing.assert_array_equal(sums, want[0])
        assert (names, total) == want[1:]


def test_memory_is_of_one_process(tmp_path):
    """dask/dask#8760 what cannot be pickled"""
    SLAFConverter().convert_anndata(rich(), "memory://pickled/x.slaf")
    array = SLAFArray("memory://pickled/x.slaf")
    assert pickle.loads(pickle.dumps(array)).shape == array.shape
    opened, arguments = dataset_of(array).__reduce__()
    elsewhere = [one + 1 if one == os.getpid() else one for one in arguments]
    assert elsewhere != list(arguments)
    with pytest.raises(SlafError, match="memory of another process"):
        opened(*elsewhere)
