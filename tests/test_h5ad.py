"""h5ad files in every form that HDF5 allows, and inputs that a conversion rejects."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import anndata as ad
import h5py
import hdf5plugin
import numpy as np
import pandas as pd
import pytest
from checks import assert_same
from conftest import dense, make_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.data.sources import base, h5_rows
from slaf.data.sources.h5_rows import H5Rows
from slaf.integrations import read_slaf

FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "gzip and shuffle": {"compression": "gzip", "shuffle": True, "compression_opts": 9},
    "lzf": {"compression": "lzf"},
    "zstd": dict(hdf5plugin.Zstd(clevel=3)),
    "zstd and shuffle": {"shuffle": True, **hdf5plugin.Zstd()},
    "blosc": dict(hdf5plugin.Blosc()),
    "checksum": {"fletcher32": True},
}


def write_csr(path: Path, x: sparse.csr_matrix, chunk: int | None, index: str, **filters) -> None:
    """An h5ad file whose X is stored in the given way."""
    adata = ad.AnnData(shape=x.shape)
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"] = "csr_matrix"
        group.attrs["encoding-version"] = "0.1.0"
        group.attrs["shape"] = x.shape
        for name, values in (
            ("data", x.data),
            ("indices", x.indices.astype(index)),
            ("indptr", x.indptr),
        ):
            layout = (
                {"chunks": (chunk,), "maxshape": (None,), **filters}
                if chunk and len(values)
                else {}
            )
            group.create_dataset(name, data=values, **layout)


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("chunk", [7, 100, 5000])
def test_every_filter_and_chunk(tmp_path, filters, chunk):
    want = make_counts(90).X
    write_csr(tmp_path / "x.h5ad", want, chunk, "int32", **filters)
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    np.testing.assert_array_equal(read_slaf(tmp_path / "x.slaf").X.toarray(), dense(want))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_part_of_any_array(tmp_path_factory, data):
    """Blocks of any size, of chunks of any size, of numbers of any dtype."""
    dtype = data.draw(st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "i8", "f4", "f8"]))
    index = data.draw(st.sampled_from(["int32", "int64", "uint32", ">i4"]))
    filters = data.draw(st.sampled_from(list(FILTERS.values())))
    chunk = data.draw(st.sampled_from([None, 3, 16, 1000]))
    x = make_counts(data.draw(st.integers(4, 40)), seed=data.draw(st.integers(0, 5))).X
    x = sparse.csr_matrix(x.astype(dtype))
    path = tmp_path_factory.mktemp("any") / "x.h5ad"
    write_csr(path, x, chunk, index, **(filters if chunk else {}))
    before, h5_rows.BLOCK_VALUES = h5_rows.BLOCK_VALUES, data.draw(st.integers(1, 200))
    try:
        with h5py.File(path) as file:
            start = data.draw(st.integers(0, x.shape[0]))
            rows = H5Rows(file, "X", x.shape, {"dtype": dtype, "encoding": "csr"})
            blocks = [
                sparse.csr_matrix((d, i, p - p[0]), shape=(len(p) - 1, x.shape[1]))
                for p, i, d in rows.blocks(start)
            ]
    finally:
        h5_rows.BLOCK_VALUES = before
    got = sparse.vstack(blocks).toarray() if blocks else np.zeros((0, x.shape[1]))
    np.testing.assert_array_equal(got, dense(x)[start:])


def test_columns_in_no_order_are_sorted(tmp_path):
    want = make_counts().X
    mixed = want.copy()
    for row in range(mixed.shape[0]):
        span = slice(mixed.indptr[row], mixed.indptr[row + 1])
        mixed.indices[span] = mixed.indices[span][::-1].copy()
        mixed.data[span] = mixed.data[span][::-1].copy()
    write_csr(tmp_path / "x.h5ad", mixed, 50, "int32")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    np.testing.assert_array_equal(read_slaf(tmp_path / "x.slaf").X.toarray(), dense(want))


@pytest.mark.parametrize("late", [70_000.0, 0.25, -1.0, 1e300, np.nan, 2.0**40])
def test_the_last_value_decides_the_type(tmp_path, late):
    """All others are counts of few bits."""
    adata = make_counts(200)
    x = adata.X.astype(np.float64)
    x[-2, 3] = late
    adata.X = sparse.csr_matrix(x)
    adata.write_h5ad(tmp_path / "x.h5ad")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), adata)


def test_a_dense_matrix_in_chunks(tmp_path):
    adata = make_counts()
    adata.X = dense(adata.X)
    adata.write_h5ad(tmp_path / "x.h5ad", compression="gzip")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    np.testing.assert_array_equal(read_slaf(tmp_path / "x.slaf").X.toarray(), adata.X)


# What is refused -------------------------------------------------------------


def test_layers_of_every_layout_are_read_in_blocks(counts, convert, monkeypatch):
    """Blocks of the layers end at different rows, and one column is wider."""
    monkeypatch.setattr(h5_rows, "BLOCK_VALUES", 50)
    monkeypatch.setattr(base, "BLOCK_VALUES", 70)
    rng = np.random.default_rng(5)
    n, m = counts.shape
    counts.layers["rows"] = sparse.random(n, m, 0.3, "csr", random_state=1)
    counts.layers["columns"] = sparse.random(n, m, 0.2, "csc", random_state=2, dtype=np.float32)
    counts.layers["dense"] = rng.integers(0, 3, (n, m))
    counts.layers["like X"] = counts.X * 2
    wide = counts.X.astype(np.int64)
    wide.data[-1] = 2**40 + 1
    counts.layers["wide"] = wide
    counts.obsp["near"] = sparse.random(n, n, 0.2, "csr", random_state=3, dtype=np.float32)
    counts.obsp["far"] = sparse.random(n, n, 0.1, "csc", random_state=4)
    path = convert(counts)
    assert_same(read_slaf(path).to_adata(), counts)
    layers = SLAFArray(path).query("SELECT columns, wide FROM layers LIMIT 1")
    assert [str(kind) for kind in layers.dtypes] == ["Float32", "Float64"]


def test_a_value_of_a_layer_that_no_float_holds_is_named(counts, tmp_path, refused):
    wide = counts.X.astype(np.int64).tocsr()
    wide[7, 9] = 2**53 + 1
    counts.layers["wide"] = wide
    counts.write_h5ad(tmp_path / "x.h5ad")
    said = refused(tmp_path / "x.h5ad")
    assert f"`layers/wide` holds {2**53 + 1} in row 7, column 9" in said


def test_a_file_whose_parts_do_not_fit(counts, tmp_path, refused):
    counts.obsm["X_pca"] = np.ones((len(counts), 3), np.float32)
    counts.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        del file["obsm/X_pca"]
        file["obsm"].create_dataset("X_pca", data=np.ones((7, 3), np.float32))
    assert "`obsm/X_pca` has shape 7" in refused(tmp_path / "x.h5ad")


@pytest.fixture
def refused(tmp_path):
    """The one sentence with which a conversion ends that leaves nothing."""

    def refused(source, error=SlafError, target: Path | None = None, **options) -> str:
        target = target or tmp_path / "out.slaf"
        with pytest.raises(error) as caught:
            SLAFConverter().convert(source, target, **options)
        message = str(caught.value)
        assert "\n" not in message and not re.search(r"LanceError|\.rs\b|panick", message)
        assert not target.exists()
        assert not (target.parent / f".{target.name}.partial").exists()
        return message

    return refused


@pytest.mark.parametrize("bad", [-1.0, np.nan, 0.5, np.inf])
def test_what_is_no_count_is_named_where_counts_are_claimed(tmp_path, refused, bad):
    adata = make_counts()
    x = dense(adata.X)
    x[7, 11] = bad
    adata.X = sparse.csr_matrix(x)
    adata.write_h5ad(tmp_path / "x.h5ad")
    said = refused(tmp_path / "x.h5ad", counts=True)
    assert "cell 'cell-7', gene 'ENSG00011' holds" in said and "which is no count" in said


def test_an_integer_that_no_float_holds_is_named(tmp_path, refused):
    adata = make_counts()
    x = dense(adata.X).astype(np.int64)
    x[59, 39] = 2**53 + 1
    adata.X = sparse.csr_matrix(x)
    adata.write_h5ad(tmp_path / "x.h5ad")
    said = refused(tmp_path / "x.h5ad")
    assert f"cell 'cell-59', gene 'ENSG00039' holds {2**53 + 1}" in said
    assert "cannot be stored exactly" in said


def damage(path: Path, how: str) -> None:
    with h5py.File(path, "r+") as file:
        x = file["X"]
        if how == "gene out of range":
            x["indices"][5] = 4000
        elif how == "negative gene":
            x["indices"][5] = -3
        elif how == "indptr backwards":
            x["indptr"][3] = 0
        elif how == "indptr beyond":
            x["indptr"][-1] = 10**9
        elif how == "short data":
            values = x["data"][:-4]
            del x["data"]
            x["data"] = values
        elif how == "short indptr":
            values = x["indptr"][:-4]
            del x["indptr"]
            x["indptr"] = values
        elif how == "text":
            del x["data"]
            x["data"] = np.array([b"a", b"b"])
        elif how == "no indices":
            del x["indices"]


@pytest.mark.parametrize(
    "how",
    [
        "gene out of range",
        "negative gene",
        "indptr backwards",
        "indptr beyond",
        "short data",
        "short indptr",
        "text",
        "no indices",
    ],
)
def test_a_damaged_matrix(tmp_path, refused, how):
    make_counts().write_h5ad(tmp_path / "x.h5ad")
    damage(tmp_path / "x.h5ad", how)
    refused(tmp_path / "x.h5ad")


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file(tmp_path, refused, compression, keep):
    path = tmp_path / "x.h5ad"
    make_counts(400).write_h5ad(path, compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert "x.h5ad" in refused(path)


def test_a_file_that_is_cut_short_behind_hdf5s_back(tmp_path, refused):
    """The header says how long the file is; the chunks at its end are noise."""
    path = tmp_path / "x.h5ad"
    make_counts(400).write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        places = []
        file["X/data"].id.chunk_iter(lambda info: places.append((info.byte_offset, info.size)))
    content = bytearray(path.read_bytes())
    offset, size = places[-1]
    content[offset : offset + size] = bytes(size)
    path.write_bytes(content)
    assert "damaged" in refused(path)


def test_no_permission(refused, tmp_path):
    make_counts().write_h5ad(tmp_path / "x.h5ad")
    assert "/proc" in refused(tmp_path / "x.h5ad", OSError, Path("/proc/nowhere/x.slaf"))


def test_a_full_disk(refused, tmp_path):
    """A disk of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root makes file systems")
    try:
        x = sparse.random(3000, 500, 0.4, format="csr", dtype=np.float32, random_state=0)
        ad.AnnData(x).write_h5ad(tmp_path / "x.h5ad")
        said = refused(tmp_path / "x.h5ad", OSError, disk / "x.slaf")
        assert "full" in said or "No space left" in said
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_existing_target_of_another_kind(tmp_path, refused):
    make_counts().write_h5ad(tmp_path / "x.h5ad")
    (tmp_path / "taken").write_text("x")
    with pytest.raises(FileExistsError, match="exists already"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "taken")
    with pytest.raises(SlafError, match="a dataset is a folder"):
        SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "taken", overwrite=True)
    assert (tmp_path / "taken").read_text() == "x"


def test_overwriting_keeps_the_old_one_until_the_new_one_is_whole(tmp_path):
    make_counts().write_h5ad(tmp_path / "x.h5ad")
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf")
    seen = []

    def look(what: str, done: int, total: int) -> None:
        # The last word may come when all is done.
        if done < total:
            seen.append(SLAFArray(tmp_path / "x.slaf").shape)

    make_counts(80, 30).write_h5ad(tmp_path / "y.h5ad")
    SLAFConverter().convert(tmp_path / "y.h5ad", tmp_path / "x.slaf", overwrite=True, progress=look)
    assert set(seen) == {(60, 40)}
    assert SLAFArray(tmp_path / "x.slaf").shape == (80, 30)


# What slafdb and others see ---------------------------------------------------


def test_columns_of_many_categories(tmp_path):
    """Of one file and of two, whose columns are alike or not."""
    paths = []
    for letter in "ab":
        names = [f"{letter}{n}" for n in range(10_001)]
        obs = pd.DataFrame(
            {"many": pd.Categorical(names), "text": names, "n": range(10_001)}, names
        )
        obs["some"] = pd.Categorical([letter, *["b"] * 10_000], ordered=False)
        obs["kind"] = obs["n"] if letter == "a" else obs["n"] / 2
        adata = ad.AnnData(sparse.random(10_001, 3, 0.1, "csr", np.float32), obs=obs)
        paths.append(tmp_path / f"{letter}.h5ad")
        adata.write_h5ad(paths[-1])
    SLAFConverter().convert(paths[0], tmp_path / "a.slaf")
    assert_same(read_slaf(tmp_path / "a.slaf").to_adata(), ad.read_h5ad(paths[0]))
    SLAFConverter().convert(paths, tmp_path / "both.slaf")
    SLAFConverter().append(paths[1], tmp_path / "a.slaf")
    want = ad.concat(map(ad.read_h5ad, paths)).obs
    for made in ("both", "a"):
        got = pd.DataFrame(read_slaf(tmp_path / f"{made}.slaf").obs).drop(columns="source_file")
        pd.testing.assert_frame_equal(got, want)


def test_dtypes_are_told_to_slafdb(counts, convert):
    config = SLAFArray(convert(counts)).config
    assert config["obs_dtypes"]["cell_type"] == {"dtype": "category"}
    assert config["obs_dtypes"]["doublet"] == {"dtype": "bool"}
    assert "age" not in config["obs_dtypes"]
    assert config["var_dtypes"]["mt"] == {"dtype": "bool"}


def test_frames_and_matrices_deep_in_uns(counts, convert):
    counts.uns["deep"] = {
        "er": {
            "frame": pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", None])}),
            "sparse": sparse.random(5, 4, 0.5, format="csr", random_state=0),
            "flag": True,
            "name": "größe",
            "numbers": np.arange(3),
        }
    }
    got = read_slaf(convert(counts)).uns["deep"]["er"]
    want = counts.uns["deep"]["er"]
    pd.testing.assert_frame_equal(got["frame"].reset_index(drop=True), want["frame"])
    np.testing.assert_array_equal(dense(got["sparse"]), dense(want["sparse"]))
    assert bool(got["flag"]) is True and got["name"] == "größe"
    np.testing.assert_array_equal(got["numbers"], want["numbers"])
