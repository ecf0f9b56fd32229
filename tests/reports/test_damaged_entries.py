"""Damaged and hand-made files: one sentence names the file and the entry, and nothing is
written."""

from __future__ import annotations

import shutil
from itertools import product

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import dense, make_counts
from scipy import sparse
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

MATRICES = ["X", "raw/X", "layers/csr", "layers/csc", "obsp/near"]


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    adata = make_counts()
    adata.layers["csr"], adata.layers["csc"] = adata.X.copy(), adata.X.tocsc()
    adata.obsp["near"] = sparse.csr_matrix(np.eye(60, dtype=np.float32))
    adata.obsm["frame"] = pd.DataFrame({"w": range(60)}, index=adata.obs_names)
    adata.obsm["pca"] = np.ones((60, 2), np.float32)
    adata.uns["note"] = 1
    adata.raw = adata.copy()
    return adata


@pytest.fixture(scope="module")
def whole(adata, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "x.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture
def refused(whole, tmp_path):
    """The sentence with which the file is refused that `damage` was done to, and
    whether X was begun before."""

    def refused(damage) -> tuple[str, bool]:
        path, begun = shutil.copy(whole, tmp_path / "x.h5ad"), []
        with h5py.File(path, "r+") as file:
            damage(file)
        with pytest.raises(SlafError) as caught:
            SLAFConverter().convert(
                path, tmp_path / "x.slaf", progress=lambda *done: begun.append(done)
            )
        assert list(tmp_path.iterdir()) == [path]
        said = str(caught.value)
        assert f"`{path}`" in said and "\n" not in said
        return said, bool(begun)

    return refused


def put(file, name: str, values) -> None:
    """Other values under the name, with the attributes of the old ones."""
    kept = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values).attrs.update(kept)


def changed(part: str, place: int, value: float):
    def change(file, name: str) -> None:
        values = file[f"{name}/{part}"][:]
        values = values.astype(np.result_type(values, value))
        values[place] = value
        put(file, f"{name}/{part}", values)

    return change


#: What is done to the arrays of a matrix, and what is said of which.
OFFSETS = {
    "begins at one": (changed("indptr", 0, 1), "indptr` begins at 1"),
    "wraps": (changed("indptr", 7, -(2**31)), "indptr` falls from"),
    "falls": (changed("indptr", 9, 2), "indptr` falls from"),
    "half an offset": (changed("indptr", 5, 2.5), "indptr` holds 2.5, which is not a whole"),
    "one offset less": (lambda f, n: put(f, f"{n}/indptr", f[n]["indptr"][:-1]), "indptr` has"),
    "no offsets": (lambda f, n: put(f, f"{n}/indptr", np.zeros(0, int)), "indptr` has 0"),
    "values of two dimensions": (
        lambda f, n: put(f, f"{n}/data", f[n]["data"][:][:, None]),
        "data` has 2 dimensions",
    ),
    "a value less": (lambda f, n: put(f, f"{n}/data", f[n]["data"][:-1]), "data` has"),
    "no indices": (lambda f, n: f[n].__delitem__("indices"), "indices` is missing"),
}
INDICES = {
    "beyond": (changed("indices", 3, 99), "indices` holds 99"),
    "negative": (changed("indices", 3, -1), "indices` holds -1"),
    "half an index": (
        changed("indices", 3, 3.5),
        "indices` holds 3.5, which is not a whole number",
    ),
    "no number": (changed("indices", 3, np.nan), "indices` holds nan"),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("kind", OFFSETS)
def test_offsets_that_divide_nothing_are_told_before_x(name, kind, refused):
    """nf-core/scdownstream#167: offsets that passed 2^31, rows and columns swapped"""
    damage, told = OFFSETS[kind]
    said, begun = refused(lambda file: damage(file, name))
    assert f"`{name}/{told}" in said and not begun


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("kind", INDICES)
def test_indices_that_are_none_are_told(name, kind, refused):
    """nf-core/scdownstream#167: `X.indices.max()` beyond the genes"""
    damage, told = INDICES[kind]
    said, _ = refused(lambda file: damage(file, name))
    assert f"`{name}/{told}" in said


def test_whole_numbers_that_are_floats_are_indices(adata, whole, tmp_path):
    """bnprks/BPCells#76: types that R writes"""
    path = shutil.copy(whole, tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        for name in MATRICES:
            for part in ("indptr", "indices"):
                put(file, f"{name}/{part}", file[name][part][:].astype(float))
    SLAFConverter().convert(path, tmp_path / "x.slaf")
    got = read_slaf(tmp_path / "x.slaf").to_adata()
    for found in (got.X, got.raw.X, got.layers["csr"], got.layers["csc"]):
        np.testing.assert_array_equal(dense(found), dense(adata.X))
    np.testing.assert_array_equal(dense(got.obsp["near"]), np.eye(60))


@pytest.mark.parametrize(
    ("name", "kind"), [("X", "indptr"), ("layers/csc", "indptr"), ("raw/X", "indices")]
)
def test_damage_in_zarr_is_told(name, kind, adata, tmp_path):
    """nf-core/scdownstream#167"""
    adata.write_zarr(tmp_path / "x.zarr")
    values = zarr.open_group(str(tmp_path / "x.zarr"), mode="r+")[f"{name}/{kind}"]
    values[0] = 99
    with pytest.raises(SlafError, match=rf"x\.zarr` is damaged: `{name}/{kind}` .* 99"):
        SLAFConverter().convert(tmp_path / "x.zarr", tmp_path / "x.slaf")
    assert not (tmp_path / "x.slaf").exists()


@pytest.mark.parametrize("genomes", [("matrix",), ("hg19",), ("hg19", "mm10")])
@pytest.mark.parametrize("damage", [*OFFSETS, *INDICES])
def test_damage_in_a_10x_file_is_told(damage, genomes, tmp_path):
    """nf-core/scdownstream#167"""
    x = make_counts().X
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in genomes:
            group = file.create_group(name)
            for key in ("data", "indices", "indptr"):
                group[key] = getattr(x, key)
            group["shape"] = [40, 60]
            group["barcodes"] = np.array([f"c{i}" for i in range(60)], "S")
            ids = np.array([f"{name}-{i}" for i in range(40)], "S")
            if name == "matrix":
                for key in ("id", "name", "feature_type", "genome"):
                    group[f"features/{key}"] = ids
            else:
                group["genes"] = group["gene_names"] = ids
        (OFFSETS | INDICES)[damage][0](file, genomes[-1])
    with pytest.raises(SlafError, match=rf"x\.h5` \S+.* `{genomes[-1]}/(indptr|indices|data)`"):
        SLAFConverter().convert(tmp_path / "x.h5", tmp_path / "x.slaf", "10x_h5")
    assert not (tmp_path / "x.slaf").exists()


# Columns ---------------------------------------------------------------------

COLUMNS = ["obs/n_genes", "obs/batch", "obs/age", "obs/stage", "var/symbol", "raw/var/mt"]


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("name", [*COLUMNS, "obsm/frame/w"])
def test_a_column_of_another_length_than_its_frame_is_told_before_x(name, step, refused):
    """scverse/scanpy#2297"""

    def damage(file) -> None:
        below = [name] if isinstance(file[name], h5py.Dataset) else [f"{name}/codes"]
        if name == "obs/age":
            below = [f"{name}/values", f"{name}/mask"]
        for part in below:
            put(file, part, np.resize(file[part][:], len(file[part]) + step))

    said, begun = refused(damage)
    assert f"`{name}` has" in said and f"--skip {name}`" in said and not begun


def test_a_mask_of_another_length_than_its_column(refused):
    """scverse/anndata#1258"""
    said, begun = refused(lambda file: put(file, "obs/age/mask", np.zeros(59, bool)))
    assert "`obs/age`" in said and not begun


@pytest.mark.parametrize("name", [*COLUMNS, "obsm/frame/w"])
def test_a_column_that_is_only_named_is_told_and_can_be_skipped(name, refused, tmp_path):
    """scverse/anndata#621: "Unable to open object" """
    said, begun = refused(lambda file: file.__delitem__(name))
    assert f"`{name}` is missing" in said and f"--skip {name}`" in said and not begun
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf", skip=[name])
    assert read_slaf(tmp_path / "x.slaf").shape == (60, 40)


LATIN = "größe".encode("latin-1")


@pytest.mark.parametrize(
    "name", ["obs/batch/categories", "obs/_index", "var/symbol", "raw/var/_index"]
)
def test_texts_that_are_not_utf8_are_told_before_x(name, refused):
    """PMBio/MuDataSeurat#6"""
    said, begun = refused(lambda file: put(file, name, np.array([LATIN] * len(file[name]))))
    assert f"`{name}` holds text that is not UTF-8" in said and not begun


# Other things than what has to be there --------------------------------------

ENTRIES = [*MATRICES, "obsm/pca", "obsm/frame", "obs/score", "raw/var/mt", "var/symbol"]


def emptied(file, name: str) -> None:
    del file[name]
    file.create_group(f"{name}/b")


def leads_nowhere(file, name: str) -> None:
    del file[name]
    file[name] = h5py.SoftLink("/nothing")


def leads_to_no_file(file, name: str) -> None:
    del file[name]
    file[name] = h5py.ExternalLink("nothing.h5", "/x")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(ENTRIES, [emptied, leads_nowhere, leads_to_no_file]),
        *product(["uns/note", "layers", "raw"], [leads_nowhere]),
    ],
)
def test_what_is_another_thing_or_nothing_can_be_skipped(name, damage, refused, tmp_path):
    """scverse/anndata#565: 'dict' object has no attribute 'shape'; #2450"""
    said, begun = refused(lambda file: damage(file, name))
    told = "a group, not a" if damage is emptied else "missing"
    assert f"`{name}` is {told}" in said and f"--skip {name}`" in said and not begun
    SLAFConverter().convert(tmp_path / "x.h5ad", tmp_path / "x.slaf", skip=[name])
    assert read_slaf(tmp_path / "x.slaf").shape == (60, 40)


def test_a_layer_of_text_is_no_matrix(refused):
    """scverse/anndata#1347"""

    def damage(file) -> None:
        del file["layers/csr"]
        file["layers/csr"] = np.full((60, 40), b"x")

    said, begun = refused(damage)
    assert "`layers/csr` holds" in said and not begun


@pytest.mark.parametrize("shape", [(59, 40), (60, 41), (60,), ()])
@pytest.mark.parametrize("name", ["X", "raw/X", "layers/csr", "obsp/near"])
def test_a_matrix_of_another_shape_than_the_names(name, shape, refused):
    """lmw123/DISCOtoolkit#5"""

    def damage(file) -> None:
        del file[name]
        file[name] = np.ones(shape, np.float32)

    said, begun = refused(damage)
    assert f"`{name}` has shape {shape}" in said and not begun
