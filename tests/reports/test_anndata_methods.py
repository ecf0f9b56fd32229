"""AnnData methods that users expect of a handle, and errors for wrong names."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from conftest import dense
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf


@pytest.fixture
def both(counts, tmp_path):
    counts.obs["k"] = pd.Categorical(np.resize(list("abc"), 60))
    counts.var["v"] = pd.Categorical(np.resize(list("xy"), 40))
    counts.obsm["frame"] = pd.DataFrame(
        {"c": pd.Categorical(["a", "b"] * 30), "d": range(60)}, index=counts.obs_names
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.tl.rank_genes_groups(counts, "k")
    SLAFConverter().convert_anndata(counts, tmp_path / "x.slaf")
    return read_slaf(tmp_path / "x.slaf"), counts


@pytest.mark.parametrize(("key", "names"), [("k", ["one", "two", "three"]), ("v", [3, 4])])
def test_categories_are_renamed_also_in_uns(key, names, both):
    """scverse/anndata#82"""
    for data in both:
        data.rename_categories(key, names)
    handle, adata = both
    for axis in ("obs", "var"):
        for name, right in getattr(adata, axis).items():
            pd.testing.assert_series_equal(getattr(handle, axis)[name], right)
    mine, right = (data.uns["rank_genes_groups"] for data in both)
    assert mine["names"].dtype.names == right["names"].dtype.names
    for group in right["names"].dtype.names:
        np.testing.assert_array_equal(mine["names"][group], right["names"][group])


def test_renamed_categories_are_saved(both):
    """scverse/anndata#82"""
    handle = both[0]
    handle.rename_categories("k", ["one", "two", "three"])
    handle.save()
    again = read_slaf(handle.slaf.slaf_path)
    assert list(again.obs["k"].cat.categories) == ["one", "two", "three"]
    assert again.uns["rank_genes_groups"]["names"].dtype.names == ("one", "two", "three")


def test_categories_of_a_view_are_renamed_there(both):
    """scverse/anndata#82"""
    views = [data[::3] for data in both]
    for view in views:
        with pytest.warns(ad.ImplicitModificationWarning):
            view.rename_categories("k", ["only"])
        assert list(view.obs["k"]) == ["only"] * 20
    assert list(both[0].obs["k"].cat.categories) == list("abc")


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("k", {"a": "b"}),
        ("k", ["too", "few"]),
        ("k", list("xyx")),
        ("nope", ["a"]),
        ("n_genes", ["a"]),
    ],
    ids=str,
)
def test_wrong_categories_are_refused(key, names, both):
    """scverse/anndata#82"""
    before = both[1].obs["k"]
    with pytest.raises(ValueError):
        both[0].rename_categories(key, names)
    pd.testing.assert_series_equal(both[0].obs["k"], before)


@pytest.mark.parametrize(
    "select", [7, 1000, [5, 5, 2], np.array([59, 0]), (3,), np.arange(60) > 55], ids=str
)
@pytest.mark.parametrize("replace", [True, False])
def test_a_chunk_of_x_is_that_of_anndata(select, replace, both):
    """scverse/anndata#34"""
    chunks = []
    for data in (*both, both[0][5:50], both[1][5:50]):
        if data.n_obs < 60 and not isinstance(select, int):
            continue
        np.random.seed(3)
        chunks.append(data.chunk_X(select, replace=replace))
        assert isinstance(chunks[-1], np.ndarray)
    for mine, right in zip(chunks[::2], chunks[1::2], strict=True):
        np.testing.assert_array_equal(mine, right)


@pytest.mark.parametrize("select", ["all", 2.5, None])
def test_no_chunk_of_something_else(select, both):
    """scverse/anndata#34"""
    for data in both:
        with pytest.raises((ValueError, IndexError)):
            data.chunk_X(select)


def test_a_handle_is_written_to_zarr(both, tmp_path):
    """scverse/anndata#2077"""
    handle, adata = both
    handle.write_zarr(tmp_path / "x.zarr")
    again = ad.read_zarr(tmp_path / "x.zarr")
    np.testing.assert_array_equal(dense(again.X), dense(adata.X))
    assert handle[:5].isview and not handle.isview


def test_a_cell_of_x_is_not_set_in_place(both):
    """scverse/anndata#206"""
    with pytest.raises(SlafError, match="cannot be changed in place"):
        both[0][3, 4] = 1


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("axis", ["obs", "var"])
def test_a_missing_column_is_named_with_what_is_near(axis, whole, both):
    """scverse/scanpy#728"""
    handle = both[0]
    frame = getattr(handle, axis)
    near = "n_gens" if axis == "obs" else "mtt"
    if whole:
        frame.sort_values(frame.columns[0])
        frame.loc[:, "new"] = 1
    tries = [
        lambda: frame["nope"],
        lambda: frame[[frame.columns[0], "nope"]],
        lambda: frame.pop("nope"),
        lambda: frame.__delitem__("nope"),
        lambda: getattr(handle[:5, :5], axis)["nope"],
    ]
    for attempt in tries:
        with pytest.raises(KeyError, match=f"{axis} has no column 'nope'"):
            attempt()
    with pytest.raises(KeyError, match=f"{axis} has no column '{near}'. Did you mean"):
        frame[near]
    assert frame.get("nope") is None
    assert not hasattr(frame, "nope")


def test_deleting_a_missing_column_leaves_a_view_a_view(both):
    """scverse/anndata#206"""
    view = both[0][:5]
    with pytest.raises(KeyError):
        del view.obs["nope"]
    assert view.is_view


def test_a_missing_gene_cell_or_layer_is_named(both):
    """scverse/scanpy#728"""
    handle = both[0]
    with pytest.raises(KeyError, match="'nope' is neither a column of obs nor one of var_names"):
        handle.obs_vector("nope")
    with pytest.raises(KeyError, match="'nope' is neither a column of var nor one of obs_names"):
        handle.var_vector("nope")
    with pytest.raises(KeyError, match="'nope' is not in layers"):
        handle.obs_vector(handle.var_names[0], layer="nope")


def test_a_sum_over_no_genes_is_not_negative(both):
    """It was -0.0, which prints so."""
    for none in (both[0][:, []].X.sum(1), both[0][[]].X.sum(0), both[0][[]].X.sum()):
        assert not np.signbit(none).any()


@pytest.mark.parametrize(
    "seen",
    [
        lambda data: data[1::2],
        lambda data: data[1::2].copy(),
        lambda data: data[[1, 0, 2]][1:],
        lambda data: data[::2][5:1:-1],
        lambda data: data[:],
        lambda data: data.copy(),
        lambda data: data[1::2][:, :3],
        lambda data: data[[]],
    ],
)
@pytest.mark.parametrize("touched", [False, True])
def test_frames_of_a_view_drop_the_categories_it_lacks(seen, touched, both):
    """scverse/anndata#1978"""
    handle, adata = both
    if touched:
        # In memory from now on.
        handle.obsm["frame"]
    right = pd.DataFrame(seen(adata).obsm["frame"])
    pd.testing.assert_frame_equal(seen(handle).obsm["frame"], right)
    assert list(handle.obsm["frame"]["c"].cat.categories) == ["a", "b"]
