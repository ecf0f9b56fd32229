"""Problems that people reported of other software: each case is correct here, or raises a
clear error."""

from __future__ import annotations

import copy
import pickle
import warnings
from itertools import product

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import dense, make_counts
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.scanpy import pp, tl


def in_memory(adata: ad.AnnData, tmp_path, name: str = "x.slaf"):
    SLAFConverter().convert_anndata(adata, tmp_path / name)
    return tmp_path / name


def test_of_two_columns_with_one_name_none_is_lost(counts, tmp_path):
    """scverse/anndata#884"""
    counts.obs = pd.DataFrame(
        np.arange(120.0).reshape(60, 2), columns=["a", "a"], index=counts.obs_names
    )
    with pytest.raises(SlafError, match="a"):
        in_memory(counts, tmp_path)
    assert not (tmp_path / "x.slaf").exists()


@pytest.mark.parametrize(
    "name", ["_rowid", "_rowaddr", "_rowoffset", "a`b", "*", "\0z", "a/b", "", ".", 'a"b']
)
def test_any_name_of_a_column_is_read_back_or_refused(name, tmp_path):
    """scverse/anndata#2450"""
    adata = ad.AnnData(np.eye(4, dtype=np.float32))
    adata.obs[name], adata.var[name] = range(4), range(4)
    try:
        path = in_memory(adata, tmp_path)
    except SlafError:
        assert not list(tmp_path.iterdir())
        return
    handle = read_slaf(path)
    for frame in (handle.obs, handle.var, handle[::-1, ::-1].obs[::-1]):
        assert list(frame.columns) == [name]
        assert list(frame[name]) == [0, 1, 2, 3]


@pytest.mark.parametrize("key", ["a/b", ""])
def test_a_key_of_uns_with_a_slash_is_kept_or_said_to_be_another(key, counts, tmp_path):
    """scverse/anndata#321"""
    counts.uns[key] = 5
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        path = in_memory(counts, tmp_path)
    ((stored, value),) = read_slaf(path).uns.items()
    assert value == 5
    assert stored == key or any(f"`uns/{key}`" in str(w.message) for w in said)


def test_overwriting_spares_a_folder_that_is_no_dataset(counts, tmp_path):
    """xarray-contrib/xeofs#106"""
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises((SlafError, FileExistsError)):
        SLAFConverter().convert_anndata(counts, thesis.parent, overwrite=True)
    assert thesis.read_text() == "years of work"


def test_a_handle_saves_after_the_working_directory_changed(counts, tmp_path, monkeypatch):
    """scverse/scanpy#66"""
    in_memory(counts, tmp_path)
    monkeypatch.chdir(tmp_path)
    handle = read_slaf("x.slaf")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(handle.X.toarray(), dense(counts.X))
    handle.obs["later"] = 1
    handle.save()
    assert "later" in read_slaf(tmp_path / "x.slaf").obs


def test_obs_of_a_view_is_copied_and_pickled_as_that_part(counts, tmp_path):
    """scverse/anndata#767"""
    obs = read_slaf(in_memory(counts, tmp_path))[::-3].obs
    right = counts[::-3].obs[["batch", "n_genes"]]
    for same in (copy.deepcopy(obs), pickle.loads(pickle.dumps(obs))):
        pd.testing.assert_frame_equal(pd.DataFrame(same[["batch", "n_genes"]]), right)


@pytest.mark.parametrize("length", [59, 61])
def test_a_column_of_another_length_than_the_index_is_refused(length, counts, tmp_path):
    """scverse/scanpy#2297"""
    source = tmp_path / "x.h5ad"
    counts.write_h5ad(source)
    with h5py.File(source, "r+") as file:
        attributes = dict(file["obs/n_genes"].attrs)
        del file["obs/n_genes"]
        file["obs"].create_dataset("n_genes", data=np.arange(length)).attrs.update(attributes)
    with pytest.raises(SlafError, match="n_genes"):
        SLAFConverter().convert(source, tmp_path / "x.slaf")
    assert not (tmp_path / "x.slaf").exists()


def begins_at_one(indptr, indices):
    indptr[0] = 1


def wraps(indptr, indices):
    indptr[7] = -(2**31) + 5


def falls(indptr, indices):
    indptr[1] = indptr[2] + 1


def beyond(indptr, indices):
    indices[3] = 40


@pytest.mark.parametrize(
    ("damage", "entry"),
    [
        (begins_at_one, "X"),
        (begins_at_one, "layers/l"),
        (begins_at_one, "raw/X"),
        (wraps, "X"),
        (falls, "layers/l"),
        (beyond, "raw/X"),
    ],
)
def test_a_matrix_whose_offsets_are_wrong_is_refused(damage, entry, counts, tmp_path):
    """ncborcherding/utility#23"""
    counts.layers["l"] = counts.X.copy()
    counts.raw = counts.copy()
    source = tmp_path / "x.h5ad"
    counts.write_h5ad(source)
    with h5py.File(source, "r+") as file:
        parts = [file[entry][part][:] for part in ("indptr", "indices")]
        damage(*parts)
        for name, values in zip(("indptr", "indices"), parts, strict=True):
            file[entry][name][...] = values
    with pytest.raises(SlafError):
        SLAFConverter().convert(source, tmp_path / "x.slaf")
    assert not (tmp_path / "x.slaf").exists()


@pytest.fixture
def not_finite(tmp_path):
    x = np.zeros((5, 4), np.float32)
    x[0] = [1, np.nan, 3, -2]
    x[1] = [np.inf, 2, 0, -np.inf]
    x[2] = np.nan
    x[3] = [-1, -2, -3, -4]
    adata = ad.AnnData(sparse.csr_matrix(x))
    return in_memory(adata, tmp_path), x


def test_extremes_of_nan_alone_are_nan_in_sql(not_finite):
    """apache/datafusion#13415"""
    path, x = not_finite
    answer = SLAFArray(path).query(
        "SELECT cell_integer_id AS c, MIN(value) AS low, MAX(value) AS high FROM expression "
        "WHERE cell_integer_id IN (2, 3) GROUP BY c ORDER BY c"
    )
    np.testing.assert_array_equal(answer["low"], x[2:4].min(axis=1))
    np.testing.assert_array_equal(answer["high"], x[2:4].max(axis=1))


@pytest.mark.parametrize("axis", [0, 1])
def test_extremes_of_infinities_of_both_signs_are_infinite(axis, not_finite):
    """chanzuckerberg/cellxgene#490"""
    path, x = not_finite
    lazy = read_slaf(path).X
    for name in ("max", "min"):
        found = np.ravel(getattr(lazy, name)(axis=axis))
        np.testing.assert_array_equal(found, getattr(x, name)(axis=axis))


def test_colours_of_a_column_that_obs_and_var_have(counts, tmp_path):
    """scverse/anndata#849"""
    counts.obs["k"] = pd.Categorical(np.resize(list("abc"), 60))
    counts.var["k"] = pd.Categorical(np.resize(list("xyz"), 40))
    counts.uns["k_colors"] = np.array(["#a00", "#b00", "#c00"])
    part = read_slaf(in_memory(counts, tmp_path))[(counts.obs["k"] == "b").to_numpy()]
    right = counts[counts.obs["k"] == "b"].copy().uns
    assert set(part.copy().uns) == set(right)
    for key, colors in right.items():
        np.testing.assert_array_equal(part.uns[key], colors)


def test_scaling_some_cells_leaves_the_others(counts, tmp_path):
    """scverse/scanpy#2272"""
    handle = read_slaf(in_memory(counts, tmp_path))
    counts.X = dense(counts.X)
    mask = np.arange(60) % 3 == 0
    pp.scale(handle, mask_obs=mask)
    sc.pp.scale(counts, mask_obs=mask)
    np.testing.assert_allclose(dense(handle.X), counts.X, rtol=1e-4, atol=1e-5)


def test_quality_of_raw_is_told_of_the_genes_of_raw(counts, tmp_path):
    """scverse/scanpy#4347"""
    counts.raw = counts.copy()
    handle = read_slaf(in_memory(counts, tmp_path))[[9, 2, 4], [5, 1, 3]]
    right = counts.raw.to_adata()[[9, 2, 4]].copy()
    options = dict(percent_top=[2], qc_vars=["mt"])
    found = pp.calculate_qc_metrics(handle, use_raw=True, inplace=False, **options)
    wanted = sc.pp.calculate_qc_metrics(right, **options)
    for mine, theirs in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(
            mine[theirs.columns], theirs, check_dtype=False, rtol=1e-4, check_names=False
        )


@pytest.mark.parametrize("flavor", ["seurat", "cell_ranger"])
def test_variable_genes_of_batches_are_those_that_are_kept(flavor, tmp_path):
    """scverse/scanpy#4370"""
    adata = make_counts(200, 150)
    rng = np.random.default_rng(1)
    adata.var_names = [f"g{i}" for i in rng.permutation(150)]
    adata.obs["run"] = pd.Categorical(rng.choice(["z", "a", "m"], 200))
    sc.pp.log1p(adata)
    handle = read_slaf(in_memory(adata, tmp_path))
    told = sc.pp.highly_variable_genes(adata, flavor=flavor, batch_key="run", inplace=False)
    right = told["highly_variable"].reindex(adata.var_names).to_numpy()
    pp.highly_variable_genes(handle, flavor=flavor, batch_key="run", subset=True)
    assert list(handle.var_names) == list(adata.var_names[right])


def test_markers_come_under_the_groups_that_were_asked_for(tmp_path):
    """scverse/scanpy#2126"""
    adata = make_counts(90, 20)
    rng = np.random.default_rng(2)
    adata.obs["g"] = pd.Categorical(rng.choice(["10", "2", "1"], 90), ["2", "10", "1"])
    sc.pp.log1p(adata)
    path = in_memory(adata, tmp_path)
    for groups, reference, method in product(
        (["1", "10"], ["10", "1"]), ("rest", "2"), ("t-test", "wilcoxon")
    ):
        options = dict(groups=groups, reference=reference, method=method)
        handle = read_slaf(path)
        tl.rank_genes_groups(handle, "g", **options)
        sc.tl.rank_genes_groups(adata, "g", **options)
        mine, right = handle.uns["rank_genes_groups"], adata.uns["rank_genes_groups"]
        assert mine["names"].dtype.names == right["names"].dtype.names
        for group in right["names"].dtype.names:
            found = pd.Series(mine["scores"][group], mine["names"][group]).sort_index()
            wanted = pd.Series(right["scores"][group], right["names"][group]).sort_index()
            pd.testing.assert_series_equal(found, wanted, rtol=1e-3, atol=1e-4, check_names=False)


@pytest.mark.parametrize("code", [2, -(2**31)])
def test_a_code_without_a_category_is_no_category(code, counts, tmp_path):
    """PMBio/MuDataSeurat#5"""
    source = tmp_path / "x.h5ad"
    counts.write_h5ad(source)
    with h5py.File(source, "r+") as file:
        node = file["obs/batch"]
        attributes, codes = dict(node["codes"].attrs), node["codes"][:].astype(np.int32)
        codes[5] = code
        del node["codes"]
        node.create_dataset("codes", data=codes).attrs.update(attributes)
    with pytest.raises(SlafError):
        SLAFConverter().convert(source, tmp_path / "x.slaf")
    assert not (tmp_path / "x.slaf").exists()
