"""Names of columns, embeddings and entries that tables, SQL or HDF5 do not allow."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slaf.ground.metadata import RESERVED, fitting, stored_names
from slaf.integrations import read_slaf

N = 3


def adata_of(obs, index=None) -> ad.AnnData:
    frame = obs if isinstance(obs, pd.DataFrame) else pd.DataFrame(obs)
    frame.index = [f"c{i}" for i in range(N)]
    return ad.AnnData(sparse.csr_matrix(np.eye(N, 2, dtype=np.float32)), obs=frame)


@pytest.mark.parametrize("order", [1, -1])
def test_percent_mt_is_the_column_of_that_very_name(tmp_path, order):
    """slaf-project/slaf#23; satijalab/seurat's percent.mt beside scanpy's percent_mt."""
    obs = {"percent.mt": [1, 2, 3], "percent_mt": [10, 20, 30], "percent_mt_": [7, 8, 9]}
    adata = adata_of(dict(list(obs.items())[::order]))
    adata.obsm["X.pca"] = np.ones((N, 2), np.float32)
    adata.obsm["X_pca"] = np.zeros((N, 2), np.float32)
    adata.obs["X_pca"] = [4, 5, 6]
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    array, handle = SLAFArray(tmp_path / "x.slaf"), read_slaf(tmp_path / "x.slaf")
    asked = "SELECT percent_mt, percent_mt_ FROM cells ORDER BY cell_integer_id"
    assert array.query(asked).rows() == [(10, 7), (20, 8), (30, 9)]
    assert array.filter_cells(**{"percent.mt": ">= 2"}).height == 2
    pd.testing.assert_frame_equal(handle.obs[:], adata.obs)
    for key in ("X.pca", "X_pca"):
        np.testing.assert_array_equal(handle.obsm[key], adata.obsm[key])
    found = array.query("SELECT X_pca FROM obsm ORDER BY cell_integer_id")["X_pca"]
    assert found.to_list() == [[0, 0]] * N


def test_what_is_saved_later_under_an_exact_name_takes_it(tmp_path):
    """slaf-project/slaf#23."""
    adata = adata_of({"percent.mt": [1, 2, 3]})
    adata.obsm["X.pca"] = np.ones((N, 2), np.float32)
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    for data in (handle, adata):
        data.obs["percent_mt"] = [10, 20, 30]
        data.obs["percent_mt_"] = [7, 8, 9]
        data.obs["a.b"], data.obs["a_b"] = ["x"] * N, ["y"] * N
        data.obsm["X_pca"] = np.zeros((N, 3), np.float32)
    handle.save()
    again, array = read_slaf(tmp_path / "x.slaf"), SLAFArray(tmp_path / "x.slaf")
    pd.testing.assert_frame_equal(again.obs[:], adata.obs)
    asked = "SELECT percent_mt, percent_mt_, a_b FROM cells ORDER BY cell_integer_id"
    assert array.query(asked).rows() == [(10, 7, "y"), (20, 8, "y"), (30, 9, "y")]
    for key in ("X.pca", "X_pca"):
        np.testing.assert_array_equal(again.obsm[key], adata.obsm[key])
    assert array.filter_cells(**{"percent.mt": 2}).height == 1
    # The version before is as it was.
    before = SLAFArray(tmp_path / "x.slaf", version=1)
    assert before.query("SELECT SUM(percent_mt) AS s FROM cells")["s"][0] == 6


NAMES = st.text(st.sampled_from("ab._`*/"), max_size=3) | st.sampled_from(
    ["cell_id", "cell_id_", "_rowid", "_rowid_", "cell_integer_id", "*", ""]
)


@given(keys=st.lists(NAMES, unique=True), columns=st.lists(NAMES, unique=True))
@settings(max_examples=300, deadline=None)
def test_no_order_of_names_changes_who_has_its_own(keys, columns):
    """slaf-project/slaf#23."""
    of_keys, of_columns = stored_names(keys, columns)
    stored = [*of_keys.values(), *of_columns.values()]
    assert len(set(stored)) == len(stored) == len(keys) + len(columns)
    assert not RESERVED & set(stored)
    exact = [n for n in {*keys, *columns} if fitting(n) == n and n not in RESERVED]
    for name in exact:
        assert (of_keys if name in keys else of_columns)[name] == name
    again = stored_names(keys[::-1], columns[::-1])
    assert all(again[0][n] == n == of_keys[n] for n in exact if n in keys)


ODD = ["", ".", " lead", 'qu"ote', "back`tick", "*", "_rowid", "_rowaddr", "select", "zero\0byte"]
ODD += ["a/b", "größe", "x" * 2000, "new\nline", "cell_ID", "_index", "Score", "score", "a\\b"]


def test_odd_names_are_read_asked_and_exported(tmp_path):
    """scverse/anndata#1571, #1447; lance-format/lance#3120."""
    adata = adata_of({name: np.arange(N) + place for place, name in enumerate(ODD)})
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    array, handle = SLAFArray(tmp_path / "x.slaf"), read_slaf(tmp_path / "x.slaf")
    pd.testing.assert_frame_equal(handle.obs[:], adata.obs)
    stored = {n["name"]: n["stored"] for n in dataset_of(array).column_notes("obs")}
    for place, name in enumerate(ODD):
        quoted = '"' + stored[name].replace('"', '""') + '"'
        found = array.query(f"SELECT {quoted} AS v FROM cells ORDER BY cell_integer_id")["v"]
        assert found.to_list() == [place, place + 1, place + 2], name
    with pytest.warns(UserWarning, match=r"`obs/a/b`: named 'a\|b'.*`obs/_index`: named '_index_'"):
        handle.write_h5ad(tmp_path / "x.h5ad")
    got = ad.read_h5ad(tmp_path / "x.h5ad").obs
    renamed = {"": "_", ".": "__", "zero\0byte": "zero_byte", "a/b": "a|b", "_index": "_index_"}
    pd.testing.assert_frame_equal(got, adata.obs.rename(columns=renamed))


def test_names_that_are_no_text_become_text(tmp_path):
    """scverse/anndata#498, #311."""
    obs = pd.DataFrame([[1, 2.5, "x"]] * N, columns=[0, 1.5, ("a", "b")])
    with pytest.warns(UserWarning, match="`obs/0`: the name 0 as text.*`obs/a_b`"):
        SLAFConverter().convert_anndata(adata_of(obs), tmp_path / "x.slaf")
    assert list(read_slaf(tmp_path / "x.slaf").obs.columns) == ["0", "1.5", "a_b"]


@pytest.mark.parametrize("names", [["a", "a"], [0, "0"], [("a", "b"), "a_b"]])
def test_a_name_that_is_there_twice_is_refused(tmp_path, names):
    """scverse/anndata#1129, #230."""
    with pytest.raises(SlafError, match="`obs` has the name `.*` twice"):
        obs = pd.DataFrame([[1, 2]] * N, columns=pd.Index(names, dtype=object))
        SLAFConverter().convert_anndata(adata_of(obs), tmp_path / "x.slaf")
    assert list(tmp_path.iterdir()) == []


def test_an_index_named_as_another_column_is_exported(tmp_path):
    """scverse/anndata#1572, #485."""
    adata = adata_of({"barcode": ["x", "y", "z"]})
    adata.obs.index.name = "barcode"
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    assert handle.obs.index.name == "barcode"
    with pytest.warns(UserWarning, match="`obs: its index`: without its name 'barcode'"):
        handle.write_h5ad(tmp_path / "x.h5ad")
    got = ad.read_h5ad(tmp_path / "x.h5ad").obs
    assert (list(got.index), list(got["barcode"])) == (["c0", "c1", "c2"], ["x", "y", "z"])


@pytest.mark.parametrize("key", ["a.b", "a/b", "cell_integer_id_2", "back`tick", "_rowid"])
def test_layers_of_odd_names(tmp_path, key):
    """slaf-project/slaf#23."""
    adata = adata_of({"x": [1, 2, 3]})
    adata.layers[key] = adata.X * 3
    adata.obsp[key] = sparse.csr_matrix(np.eye(N, dtype=np.float32))
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    read = key if key in handle.layers else key.replace("/", "|")
    np.testing.assert_array_equal(handle.layers[read].toarray(), adata.layers[key].toarray())
    handle.write_h5ad(tmp_path / "x.h5ad")
    got = ad.read_h5ad(tmp_path / "x.h5ad")
    key = key.replace("/", "|")
    np.testing.assert_array_equal(got.layers[key].toarray(), adata.X.toarray() * 3)
    np.testing.assert_array_equal(got.obsp[key].toarray(), np.eye(N))


ALIKE = [
    ("", "_"),
    ("_", ""),
    ("a/b", "a|b"),
    ("a|b", "a/b"),
    ("a.b", "a_b"),
    ("*", "_", "", "."),
    ("_rowid", "_rowid_"),
    ("cell_integer_id", "cell_integer_id_"),
]
SECTIONS = {
    "layers": lambda n: np.full((N, 2), n, np.float32),
    "obsm": lambda n: np.full((N, 2), n, np.float32),
    "varm": lambda n: (
        pd.DataFrame({"x": [n, n]}, index=["0", "1"]) if n == 2 else np.full((2, 1), n)
    ),
    "obsp": lambda n: sparse.csr_matrix(np.eye(N, dtype=np.float32) * n),
    "uns": lambda n: n,
}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("keys", ALIKE)
def test_no_key_takes_the_place_of_another(tmp_path, section, keys):
    """scverse/anndata#2450: of two keys that are stored as one, one was lost"""
    adata = ad.AnnData(np.ones((N, 2), np.float32))
    want = {key: float(2 + n) for n, key in enumerate(keys)}
    for key, value in want.items():
        getattr(adata, section)[key] = SECTIONS[section](value)
    SLAFConverter().convert_anndata(adata, tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    handle.write_h5ad(tmp_path / "x.h5ad")
    for got in (handle, ad.read_h5ad(tmp_path / "x.h5ad")):
        held = getattr(got, section)
        found = {key: largest(held[key]) for key in held.keys()}
        assert sorted(found.values()) == list(want.values())
        assert all(found[key] == want[key] for key in found.keys() & want.keys())


def test_saved_keys_that_are_renamed_take_no_place(tmp_path):
    """scverse/anndata#2450"""
    SLAFConverter().convert_anndata(adata_of({"x": [1, 2, 3]}), tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    handle.obsm["_"] = np.full((N, 2), 2.0)
    for key, value in {"": 3, "a/b": 4, "a|b": 5}.items():
        handle.obsm[key] = np.full((N, 2), value)
    for _ in range(2):
        handle.save()
        held = read_slaf(tmp_path / "x.slaf").obsm
        found = {key: largest(held[key]) for key in held.keys()}
        assert found == {"_": 2, "__": 3, "a|b_": 4, "a|b": 5}


def largest(value) -> float:
    value = value.compute() if hasattr(value, "compute") else value
    return float(np.max(value.toarray() if sparse.issparse(value) else np.asarray(value)))
