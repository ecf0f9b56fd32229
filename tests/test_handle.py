"""The lazy handle compared with an AnnData of the same data."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scanpy as sc
from checks import assert_same
from conftest import dense, rich
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.integrations import concat, read_slaf
from slaf.lazy.state import state_of


@pytest.fixture
def pair(tmp_path):
    adata = rich()
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    # scipy cannot slice every sparse matrix that has one value.
    made_dense(adata)
    return read_slaf(tmp_path / "x.slaf"), adata


def made_dense(adata: ad.AnnData) -> None:
    adata.X = adata.X.toarray()
    adata.layers["log"] = adata.layers["log"].toarray()


KEYS = [
    slice(5, 40, 3),
    slice(None, None, -1),
    [3, 1, 1, 59, -2],
    np.arange(60) % 3 == 0,
    ["cell-7", "cell-2"],
    "cell-9",
    4,
]


@pytest.mark.parametrize("rows", KEYS, ids=str)
def test_a_view_shows_what_anndatas_shows(pair, rows):
    handle, adata = pair
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got, want = handle[rows, 3:30:2], adata[rows, 3:30:2]
        assert got.is_view
        assert not handle.is_view
        assert got.shape == want.shape
        assert len(got) == len(want)
        assert got.obs_keys() == want.obs_keys()
        assert_same(got.to_adata(), want.copy())
        assert_same(got[::2][:, [1, 0]].to_adata(), want[::2][:, [1, 0]].copy())
        assert_same(got.copy().to_adata(), want.copy())


def test_every_kind_of_key(pair):
    handle, adata = pair
    names = list(adata.obs_names[[4, 2]])
    numbers = handle.slaf.query("SELECT cell_integer_id FROM cells WHERE cell_integer_id IN (4, 2)")
    for key in (
        pd.Index(names),
        np.array(names),
        pd.Series([4, 2]),
        pl.Series([4, 2]),
        pl.DataFrame({"cell_id": names}),
        pl.DataFrame({"cell_integer_id": [4, 2]}),
        pd.DataFrame({"cell_id": names}),
        handle.obs.loc[names].index,
        numbers["cell_integer_id"].to_list()[::-1] if numbers[0, 0] == 2 else numbers,
        handle[names].obs.to_polars(),
    ):
        assert list(handle[key].obs_names) == names
    mask = adata.obs["doublet"]
    assert list(handle[handle.obs["doublet"]].obs_names) == list(adata[mask].obs_names)


@pytest.mark.parametrize(
    "key", [100, "cell-x", ["cell-1", "nope"], [0, 60], np.ones(3, bool), 1.5, (0, 0, 0)], ids=str
)
def test_a_wrong_key_gives_anndatas_kind_of_error(pair, key):
    handle, adata = pair
    with pytest.raises(Exception) as theirs:
        adata[key].copy()
    with pytest.raises((IndexError, KeyError)) as ours:
        handle[key]
    assert issubclass(ours.type, theirs.type) or theirs.type is IndexError


def test_slicing_reads_nothing(pair):
    handle, _ = pair
    view = handle[::2][10:][:, :20][5:]
    assert view.shape == (15, 20)
    assert state_of(view).is_view and handle.obs._lazy is not None


def test_columns_are_read_on_demand(pair):
    handle, adata = pair
    obs = handle.obs
    assert isinstance(obs, pd.DataFrame)
    assert list(obs.columns) == list(adata.obs.columns)
    assert obs.shape == adata.obs.shape
    assert "donor" in obs
    assert "nothing" not in obs
    pd.testing.assert_series_equal(obs["stage"], adata.obs["stage"])
    pd.testing.assert_series_equal(obs.cell_type, adata.obs.cell_type)
    pd.testing.assert_frame_equal(obs[["age", "score"]], adata.obs[["age", "score"]])
    pd.testing.assert_frame_equal(obs.head(3), adata.obs.head(3))
    pd.testing.assert_frame_equal(obs.tail(2), adata.obs.tail(2))
    assert obs._lazy is not None
    with pytest.raises(KeyError, match="Did you mean `donor`"):
        obs["dono"]
    # The rest of pandas reads all of them.
    got = obs.groupby("batch", observed=True)["n_genes"].mean()
    want = adata.obs.groupby("batch", observed=True)["n_genes"].mean()
    pd.testing.assert_series_equal(got, want)
    assert obs._lazy is None
    pd.testing.assert_frame_equal(pd.DataFrame(obs), adata.obs)


def test_frames_elsewhere(pair):
    handle, adata = pair
    frame = handle.obs.to_polars()
    assert frame["cell_id"].to_list() == list(adata.obs_names)
    assert frame["n_genes"].to_list() == list(adata.obs["n_genes"])
    assert frame["donor"].null_count() == adata.obs["donor"].isna().sum()
    assert handle.var.to_arrow().column_names == ["gene_id", "symbol", "mt"]
    stored = handle.obs.to_arrow()["n_genes"].chunk(0).buffers()[1].address
    assert stored


def test_writing_to_a_handle(pair):
    for data in pair:
        data.obs["number"] = np.arange(60)
        data.obs["kind"] = pd.Categorical(["a", "b"] * 30)
        data.obs["aligned"] = pd.Series(1.5, index=data.obs_names[::-2])
        data.obs["one"] = "same"
        del data.obs["donor"]
        data.var["first"] = [True] + [False] * 39
        data.obsm["new"] = np.ones((60, 2))
        data.varm["new"] = np.ones((40, 3))
        data.obsp["new"] = sparse.eye(60, format="csr")
        data.layers["dense"] = np.full((60, 40), 2.0)
        data.layers["twice"] = sparse.csr_matrix(data.layers["dense"][:])
        data.uns["more"] = {"a": 1}
        del data.uns["deep"]
        del data.layers["log"]
        data.obs_names = [f"c{i}" for i in range(60)]
    handle, adata = pair
    assert_same(handle.to_adata(), adata)
    part = handle[[5, 3], "ENSG00004"]
    want = adata[[5, 3], "ENSG00004"].copy()
    assert_same(part.to_adata(), want)


def test_writing_to_a_view_makes_it_a_handle_of_its_own(pair):
    handle, adata = pair
    view, theirs = handle[10:20, :5], adata[10:20, :5]
    with pytest.warns(ad.ImplicitModificationWarning):
        view.obs["new"] = 1
    with pytest.warns(ad.ImplicitModificationWarning):
        theirs.obs["new"] = 1
    assert not view.is_view
    assert "new" not in handle.obs
    assert_same(view.to_adata(), theirs)
    again = handle[:5]
    with pytest.warns(ad.ImplicitModificationWarning):
        again.obsm["X_pca"] = np.zeros((5, 1), np.float32)
    assert handle.obsm["X_pca"].shape == (60, 5)


def test_a_copy_is_independent(pair):
    handle, _ = pair
    copy = handle.copy()
    copy.obs["new"] = 1
    copy.uns["new"] = 1
    copy.X = copy.X * 2
    del copy.obsm["X_pca"]
    assert "new" not in handle.obs
    assert "new" not in handle.uns
    assert "X_pca" in handle.obsm
    np.testing.assert_array_equal(copy.X.toarray(), 2 * handle.X.toarray())


@pytest.mark.parametrize(
    "write",
    [
        lambda h: h.obs.__setitem__("x", [1, 2]),
        lambda h: h.obsm.__setitem__("x", np.ones((3, 2))),
        lambda h: h.layers.__setitem__("x", np.ones((3, 2))),
        lambda h: h.obsp.__setitem__("x", np.ones((3, 2))),
        lambda h: setattr(h, "X", np.ones((3, 2))),
        lambda h: setattr(h, "obs", pd.DataFrame({"a": [1]})),
        lambda h: setattr(h, "obs_names", ["a"]),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(pair, write):
    handle, adata = pair
    with pytest.raises(ValueError):
        write(handle)
    assert_same(handle.to_adata(), adata)


def test_an_unknown_key_suggests_a_near_one(pair):
    handle, _ = pair
    for mapping, key, near in (
        (handle.obsm, "X_pac", "X_pca"),
        (handle.layers, "logs", "log"),
        (handle.uns, "deeep", "deep"),
    ):
        with pytest.raises(KeyError, match=near):
            mapping[key]


def test_vectors_and_frames(pair):
    handle, adata = pair
    for key in ("score", "ENSG00007"):
        np.testing.assert_array_equal(handle.obs_vector(key), adata.obs_vector(key))
    np.testing.assert_array_equal(
        handle.obs_vector("ENSG00007", layer="log"), adata.obs_vector("ENSG00007", layer="log")
    )
    np.testing.assert_array_equal(handle.var_vector("cell-3"), adata.var_vector("cell-3"))
    pd.testing.assert_frame_equal(handle.to_df(), adata.to_df())
    pd.testing.assert_frame_equal(handle[:9].to_df("log"), adata[:9].to_df("log"))
    with pytest.raises(KeyError):
        handle.obs_vector("nothing")


def test_without_x(pair):
    handle, adata = pair
    whole = handle.copy()
    handle.X = None
    for read in (
        handle.to_df,
        handle.to_arrow,
        handle.to_polars,
        handle.chunk_X,
        handle.chunked_X,
        lambda: handle.__setitem__((0, 0), 1),
    ):
        with pytest.raises(ValueError, match="X is None"):
            read()
    pd.testing.assert_frame_equal(handle.to_df("log"), adata.to_df("log"))
    # AnnData would take the X of the whole for raw's.
    with pytest.raises(ValueError, match="raw needs an X"):
        whole.raw = handle
    np.testing.assert_array_equal(whole.to_adata().raw.X.toarray(), adata.raw.X.toarray())


def test_transposed(pair):
    handle, adata = pair
    turned = handle.T
    assert turned.shape == (40, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = adata.T[3:9, ["cell-5", "cell-1"]].copy()
    got = turned[3:9, ["cell-5", "cell-1"]].to_adata()
    np.testing.assert_array_equal(dense(got.X), dense(want.X))
    pd.testing.assert_frame_equal(got.obs, want.obs)
    pd.testing.assert_frame_equal(got.var, want.var, check_categorical=False)
    np.testing.assert_array_equal(turned.varm["X_pca"], adata.obsm["X_pca"])


def test_raw(pair):
    handle, adata = pair
    np.testing.assert_array_equal(handle.raw.X.toarray(), adata.raw.X.toarray())
    part = handle[5:9, :3]
    assert part.raw.shape == (4, 40)
    np.testing.assert_array_equal(part.raw.X.toarray(), adata[5:9].raw.X.toarray())
    handle.raw = handle[:, :7]
    assert handle.raw.shape == (60, 7)
    handle.X = handle.X * 3
    np.testing.assert_array_equal(handle.raw.X.toarray(), adata[:, :7].X.toarray())
    del handle.raw
    assert handle.raw is None


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_concat(tmp_path, join):
    parts = [rich(seed=1), rich(seed=2, cells=35)]
    parts[1] = parts[1][:, 5:].copy()
    parts[1].obs["only"] = 1
    for at, part in enumerate(parts):
        del part.raw, part.obsm["spatial"], part.obsp["near"], part.varp["alike"]
        SLAFConverter().convert_anndata(part, tmp_path / f"{at}.slaf")
        made_dense(part)
    handles = [read_slaf(tmp_path / f"{at}.slaf") for at in range(2)]
    # What a dense matrix lacks is NaN to anndata, and zero to a sparse one.
    options = {"join": join, "label": "run", "keys": ["a", "b"], "index_unique": "-"}
    options["fill_value"] = np.float32(0)
    want = ad.concat(parts, **options)
    got = concat(handles, **{k: v for k, v in options.items() if k != "fill_value"})
    assert got.shape == want.shape
    assert_same(got.to_adata(), want)
    order = np.random.default_rng(0).permutation(95)[:40]
    assert_same(got[order, ::3].to_adata(), want[order, ::3].copy())
    np.testing.assert_allclose(got.X.sum(0), want.X.sum(0), rtol=1e-6)
    half = concat({"x": handles[0][::2], "y": handles[1][:, ::-1]}, join=join)
    their = ad.concat(
        {"x": parts[0][::2], "y": parts[1][:, ::-1]}, join=join, fill_value=np.float32(0)
    )
    assert_same(half.to_adata(), their)
    SLAFConverter().convert_handle(got, tmp_path / "all.slaf")
    np.testing.assert_array_equal(read_slaf(tmp_path / "all.slaf").X.toarray(), want.X)


def test_references(pair):
    A = pytest.importorskip("anndata.acc").A
    handle, adata = pair
    for reference in (A.X[:, "ENSG00007"], A.obs["score"], A.obsm["X_pca"][:, 1], A.var.index):
        np.testing.assert_array_equal(handle[reference], adata[reference])
        assert reference in handle
    assert A.obs["scored"] not in handle
    assert handle[A.X].shape == adata.shape
    with pytest.raises(TypeError, match="in handle.obs"):
        "score" in handle  # noqa: B015


def test_what_cannot_be_concatenated_says_so(pair):
    handle, adata = pair
    with pytest.raises(ValueError, match="nothing"):
        concat([])
    with pytest.raises(TypeError, match="anndata.concat"):
        concat([handle, adata])


def test_a_written_handle_is_exported(pair, tmp_path):
    handle, adata = pair
    for data in pair:
        data.obs["new"] = np.arange(60)
        data.obsm["new"] = np.ones((60, 2))
        data.layers["half"] = data.X * 0.5
    handle.write(tmp_path / "out.h5ad")
    adata.strings_to_categoricals()
    assert_same(ad.read_h5ad(tmp_path / "out.h5ad"), adata)


def test_torch_and_arrow_over_the_same_buffers(pair):
    handle, adata = pair
    table = handle[:7].to_arrow()
    assert table["gene_integer_id"].to_pylist()[6] == np.flatnonzero(adata.X[6]).tolist()
    assert table["value"].to_pylist()[6] == adata.X[6][adata.X[6] != 0].tolist()
    frame = handle[:7].to_polars("log")
    assert frame["value"].list.len().to_list() == np.count_nonzero(adata.X[:7], axis=1).tolist()
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install torch"):
            handle.to_torch()
    else:
        np.testing.assert_array_equal(handle.to_torch().to_dense().numpy(), adata.X)


def test_scanpys_plots_take_a_handle(pair):
    import matplotlib

    matplotlib.use("agg")
    handle, _ = pair
    handle.obsm["X_umap"] = np.random.default_rng(0).normal(size=(60, 2))
    for color in ("cell_type", "ENSG00007", "score"):
        sc.pl.umap(handle, color=color, show=False, use_raw=False)
