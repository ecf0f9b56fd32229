"""Files of other tools, and of other versions of anndata: text stays text, names become
text, and entries that cannot be read are reported first."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import write_elem
from checks import assert_same
from conftest import dense, make_counts
from scipy import sparse
from slaf import SlafError
from slaf.cli import main
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

# Texts -----------------------------------------------------------------------


def with_bytes(path, *, attributes: bool, encoding: str) -> None:
    """The file with each text of fixed length, as hdf5r and HDF5.jl write."""

    def attribute(value):
        if not attributes:
            return value
        if isinstance(value, np.ndarray):
            return np.array([text.encode() for text in value], dtype="S")
        return np.bytes_(value.encode())

    def change(node) -> None:
        for key, value in list(node.attrs.items()):
            if isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype == object):
                node.attrs[key] = attribute(value)

    with h5py.File(path, "r+") as file:
        names = []
        file.visit(names.append)
        for name in names:
            node = file[name]
            if isinstance(node, h5py.Dataset) and h5py.check_string_dtype(node.dtype):
                kept, texts = dict(node.attrs), np.asarray(node.asstr()[()], dtype=object)
                del file[name]
                encoded = [text.encode() for text in texts.ravel()]
                node = file.create_dataset(name, data=np.array(encoded, "S").reshape(texts.shape))
                node.attrs.update(kept)
                if kept.get("encoding-type") == "string-array":
                    node.attrs["encoding-type"] = encoding
            change(node)
        change(file)


@pytest.mark.parametrize("attributes", [True, False], ids=["bytes in attributes", "text"])
@pytest.mark.parametrize("encoding", ["string-array", "array"])
def test_texts_of_fixed_length_are_text(tmp_path, attributes, encoding):
    """PMBio/MuDataSeurat#6, mojaveazure/seurat-disk#109"""
    adata = make_counts()
    adata.obs["donor"] = adata.obs["donor"].fillna("d9").astype(object)
    adata.obs["µ"] = pd.Categorical(np.where(np.arange(60) % 2, "größe", "b"))
    del adata.obs["nCount.RNA"]
    adata.obsm["frame"] = pd.DataFrame(
        {"text": ["é"] * 60, "kind": pd.Categorical(["a", "b"] * 30)}, index=adata.obs_names
    )
    adata.uns |= {"text": "é", "texts": np.array(["a", "é"], object), "deep": {"er": "x"}}
    adata.uns["frame"] = pd.DataFrame({"a": ["x", "y"]}, index=["r", "s"])
    adata.raw = adata.copy()
    adata.write_h5ad(tmp_path / "x.h5ad")
    want = ad.read_h5ad(tmp_path / "x.h5ad")
    with_bytes(tmp_path / "x.h5ad", attributes=attributes, encoding=encoding)
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    got = read_slaf(tmp_path / "x.slaf").to_adata()
    assert_same(got, want)
    assert got.uns["text"] == "é" and got.uns["texts"].tolist() == ["a", "é"]
    pd.testing.assert_frame_equal(got.uns["frame"], want.uns["frame"], check_dtype=False)


LATIN = "größe".encode("latin-1")
NOT_UTF8 = {
    "obs/text": lambda f: f["obs"].create_dataset("text", data=np.array([LATIN] * 60)),
    "obs/kind": lambda f: f["obs/kind"].create_dataset("categories", data=np.array([LATIN])),
    "obs/_index": lambda f: f["obs"].create_dataset("_index", data=np.array([LATIN] * 60)),
    "uns/note": lambda f: f["uns"].create_dataset("note", data=np.bytes_(LATIN)),
}


@pytest.mark.parametrize("name", NOT_UTF8)
def test_texts_that_are_not_utf8_are_named(tmp_path, name):
    """PMBio/MuDataSeurat#6"""
    adata = make_counts()
    adata.obs["text"] = [f"t{i}" for i in range(60)]
    adata.obs["kind"] = pd.Categorical(["a"] * 60)
    adata.uns["note"] = "a"
    adata.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        below = "/categories" if name == "obs/kind" else ""
        kept = dict(file[name + below].attrs)
        del file[name + below]
        NOT_UTF8[name](file).attrs.update(kept)
    with pytest.raises(SlafError, match=rf"`{name}\S*` holds text that is not UTF-8"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    assert not (tmp_path / "x.slaf").exists()


def test_one_column_name_without_its_list(tmp_path):
    """mojaveazure/seurat-disk#109: an attribute of one text, and of none"""
    adata = make_counts()
    adata.obs = adata.obs[["score"]]
    adata.var = adata.var[[]]
    adata.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["obs"].attrs["column-order"] = "score"
        file["var"].attrs["column-order"] = h5py.Empty("S1")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), adata)


def test_a_frame_without_the_name_of_its_index(tmp_path):
    """theislab/scvelo#369, mojaveazure/seurat-disk#50"""
    make_counts().write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        del file["obs"].attrs["_index"]
    with pytest.raises(SlafError, match="`obs` does not say which of its columns holds the names"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")


def test_types_with_a_name_among_the_entries(tmp_path):
    """scverse/anndata#1051: JHDF5 leaves types in a file that it opens"""
    adata = make_counts()
    adata.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["__DATA_TYPES__/Enum_Boolean"] = np.dtype("i1")
        file["uns/type"] = np.dtype("i1")
    with pytest.raises(SlafError, match="`uns/type` is encoded as `Datatype`.*--skip uns/type"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf", skip=["uns/type"])
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), adata)


# Names -----------------------------------------------------------------------

NAMES = {
    "int": np.array([10, 11, 12, 13, 14]),
    "uint8": np.arange(5, dtype=np.uint8),
    "float": np.array([0.5, 1e-7, 2.0, 1e20, np.nan]),
    "float32": np.array([0.1, 0.25, 3, 1e10, 5], np.float32),
    "bool": np.array([True, False, True, False, True]),
    "categories": pd.Categorical(list("edcba")),
    "categories of numbers": pd.Categorical([5, 4, 3, 2, 1]),
    "nullable text": pd.array(list("abcde"), dtype="string"),
    "nullable numbers": pd.array([1, 2, 3, 4, 5], dtype="Int64"),
    "texts that look otherwise": np.array(["True", "1", "None", "nan", ""], object),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_any_kind_are_text(tmp_path, kind):
    """scverse/anndata#84, scverse/anndata#311"""
    adata = ad.AnnData(np.ones((5, 5), np.float32))
    adata.raw = adata.copy()
    adata.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        for frame in ("obs", "var", "raw/var"):
            del file[frame]["_index"]
            # In later versions of anndata this is the default.
            with ad.settings.override(allow_write_nullable_strings=True):
                write_elem(file[frame], "_index", NAMES[kind])
    want = ad.read_h5ad(tmp_path / "x.h5ad")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    got = read_slaf(tmp_path / "x.slaf")
    assert got.obs_names.tolist() == [str(name) for name in want.obs_names]
    assert got.var_names.tolist() == [str(name) for name in want.var_names]
    assert got.raw.var_names.tolist() == [str(name) for name in want.raw.var_names]
    if got.obs_names.is_unique:
        assert got[[got.obs_names[1]]].obs_names.tolist() == [got.obs_names[1]]


# Encodings -------------------------------------------------------------------


def weird(file, name: str, encoding: str = "weird", version: str = "9.9.9"):
    node = file.create_dataset(name, data=np.arange(3))
    node.attrs["encoding-type"], node.attrs["encoding-version"] = encoding, version


def awkward(file, name: str):
    """As anndata writes lists of chains; awkward itself is not needed."""
    group = file.create_group(name)
    group.attrs["encoding-type"], group.attrs["encoding-version"] = "awkward-array", "0.1.0"
    group.attrs["length"], group.attrs["form"] = 60, '{"class": "RecordArray"}'


UNKNOWN = {
    "obsm/airr": awkward,
    "obsm/nothing": lambda file, name: weird(file, name, "null", "0.1.0"),
    "varm/w": weird,
    "layers/w": weird,
    "obsp/w": lambda file, name: weird(file, name, "csr_matrix", "7.0.0"),
    "varp/w": weird,
    "uns/w": weird,
    "uns/deep/er/w": weird,
    "uns/airr": awkward,
    "raw/varm/w": weird,
    "obs/doublet": weird,
    "raw/var/symbol": lambda file, name: weird(file, name, "string-array", "3.0.0"),
    "obsm/frame/w": weird,
}


def written(path, *names: str) -> ad.AnnData:
    adata = make_counts()
    adata.obsm["frame"] = pd.DataFrame({"w": np.arange(60)}, index=adata.obs_names)
    adata.uns["kept"] = {"a": 1}
    adata.raw = adata.copy()
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for name in names:
            if name in file:
                del file[name]
            UNKNOWN[name](file, name)
    return adata


@pytest.mark.parametrize("name", UNKNOWN)
def test_encodings_that_nobody_knows_are_named_before_x_is_read(tmp_path, name):
    """scverse/anndata#1347, scverse/scirpy#472: "No read method registered for IOSpec" """
    adata = written(tmp_path / "x.h5ad", name)
    seen = []
    with pytest.raises(SlafError) as caught:
        SLAFConverter().convert(
            tmp_path / "x.h5ad", tmp_path / "x.slaf", progress=lambda *done: seen.append(done)
        )
    said = str(caught.value)
    assert f"`{name}` is e" in said and f"--skip {name}`" in said and "\n" not in said
    assert f'skip=["{name}"]' in said and not seen
    assert not (tmp_path / "x.slaf").exists()

    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf", skip=[name])
    got = read_slaf(tmp_path / "x.slaf").to_adata()
    np.testing.assert_array_equal(dense(got.X), dense(adata.X))
    np.testing.assert_array_equal(dense(got.raw.X), dense(adata.X))
    assert got.uns["kept"]["a"] == 1 and "w" not in got.uns
    columns = [c for c in adata.obs.columns if f"obs/{c}" != name]
    assert got.obs.columns.tolist() == columns
    assert list(got.obsm) == ["frame"] and not got.layers


def test_all_that_is_unknown_is_named_at_once(tmp_path):
    """scverse/anndata#1347"""
    names = ["obsm/airr", "uns/w"]
    written(tmp_path / "x.h5ad", *names)
    with pytest.raises(SlafError, match=r'skip=\["obsm/airr", "uns/w"\]'):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    skip = [word for name in names for word in ("--skip", name)]
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(tmp_path / "x.h5ad"), str(tmp_path / "x.slaf"), *skip])
    assert ended.value.code == 0
    assert read_slaf(tmp_path / "x.slaf").shape == (60, 40)


def test_skipping_what_is_not_there(tmp_path):
    """scverse/scirpy#472"""
    written(tmp_path / "x.h5ad", "obsm/airr")
    for wrong, near in (("obsm/air", "`obsm/airr`"), ("obs", "`obs")):
        with pytest.raises(SlafError, match=f"no `{wrong}` that could be skipped.*{near}"):
            SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf", skip=[wrong])
    # Of several inputs one that has it is enough.
    make_counts(20, seed=1).write_h5ad(tmp_path / "y.h5ad")
    both = [tmp_path / "x.h5ad", tmp_path / "y.h5ad"]
    SLAFConverter().convert(both, tmp_path / "x.slaf", unique_cells=True, skip="obsm/airr")
    assert read_slaf(tmp_path / "x.slaf").shape == (80, 40)


@pytest.mark.parametrize("skip", [(), ("X",)])
def test_x_that_is_null_is_none(tmp_path, skip):
    """scverse/anndata#1836: None is written as null"""
    adata = make_counts()
    adata.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        if not skip:
            del file["X"]
            file["X"] = h5py.Empty("f4")
            file["X"].attrs["encoding-type"], file["X"].attrs["encoding-version"] = "null", "0.1.0"
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf", skip=skip)
    got = read_slaf(tmp_path / "x.slaf").to_adata()
    assert got.X is None and got.shape == adata.shape


def test_x_of_an_unknown_encoding(tmp_path):
    """scverse/anndata#1347"""
    make_counts().write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["X"].attrs["encoding-version"] = "5.0.0"
    with pytest.raises(SlafError, match="`X` is encoded as `csr_matrix` 5.0.0"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["X"].attrs["encoding-version"] = "0.1.0"
        file["obs"].attrs["encoding-version"] = "7.0.0"
    with pytest.raises(SlafError, match="`obs` is encoded as `dataframe` 7.0.0.*It is needed"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")


def test_columns_of_sparse_layers_stay_what_they_are(tmp_path):
    """scverse/anndata#1347: whatever else is read by itself stays equal"""
    adata = make_counts()
    adata.layers["csc"] = sparse.csc_matrix(adata.X)
    adata.uns["neighbors"] = {"params": {"n": 3}, "m": adata.X.copy()}
    adata.uns["names"] = np.array([("a", 1.0)], dtype=[("x", object), ("y", float)])
    adata.write_h5ad(tmp_path / "x.h5ad")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    got = read_slaf(tmp_path / "x.slaf").to_adata()
    assert_same(got, ad.read_h5ad(tmp_path / "x.h5ad"))
    assert got.uns["names"]["x"].tolist() == ["a"]
