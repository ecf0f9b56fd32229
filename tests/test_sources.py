"""Several files as one dataset, and SOMA experiments: the dataset contains what anndata
and tiledbsoma read, and a bad input leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from checks import assert_same
from conftest import dense, make_counts
from inputs_10x import CELLS, what_was_written, write_h5, write_mtx
from scipy import sparse
from slaf.data.sources.base import Window
from slaf.data.sources.stacked_rows import StackedRows


def some_files(tmp_path) -> tuple[list[Path], list[ad.AnnData]]:
    """Three h5ad files, of which each has other genes, in its own order."""
    rng = np.random.default_rng(0)
    paths, parts = [], []
    for number, cells in enumerate((30, 1, 12)):
        part = make_counts(30, seed=number)[:cells, rng.permutation(40)[:30]].copy()
        part.obs_names = [f"{number}-{cell}" for cell in part.obs_names]
        part.var["number"] = number
        part.var["mt"] = part.var["symbol"].str.endswith("7")
        part.obsm["X_pca"] = rng.normal(size=(cells, 3))
        part.obsm["of two types"] = rng.normal(size=(cells, 2)).astype(["f4", "f8"][number % 2])
        part.layers["counts"] = part.X.astype(np.int32)
        part.uns["study"] = "one"
        part.uns["run"] = number
        if number == 1:
            part.obs["only here"] = 1.5
            del part.obs["donor"]
        else:
            part.obsm["in some files"] = rng.normal(size=(cells, 2))
        paths.append(tmp_path / f"part{number}.h5ad")
        parts.append(part)
        part.write_h5ad(paths[-1])
    return paths, parts


@pytest.mark.parametrize("join", ["outer", "inner"])
def test_several_files_are_what_anndata_concatenates(converted, tmp_path, join):
    paths, parts = some_files(tmp_path)
    got = converted(paths, join=join)
    every = pd.Index(np.concatenate([part.var_names for part in parts])).unique()
    order = [g for g in every if join == "outer" or all(g in p.var_names for p in parts)]
    names = [path.name for path in paths]
    merged = {"merge": "same", "uns_merge": "same", "label": "source_file", "keys": names}
    want = ad.concat(parts, join=join, **merged)[:, order].copy()
    # No column of obs is left out, however genes are joined; those of var that
    # say the same everywhere are whole.
    want.obs = ad.concat(parts, join="outer", **merged).obs
    var = pd.concat([part.var[["symbol", "mt"]] for part in parts])
    want.var = var[~var.index.duplicated()].loc[order]
    assert_same(got, want)


def test_vectors_of_several_files_are_read_when_they_are_needed():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)).astype(np.float32) for n in (4, 0, 1, 7)]
    chunked = [Window(zarr.array(part, chunks=(2, 3))) for part in parts]
    whole = np.concatenate(parts)
    for arrays in (parts, chunked):
        stacked = StackedRows(arrays)
        assert (stacked.shape, stacked.dtype) == (whole.shape, whole.dtype)
        assert (stacked[()] == whole).all()
        for start in range(13):
            for end in range(13):
                got = stacked[start:end]
                assert got.dtype == whole.dtype and np.array_equal(got, whole[start:end])


def test_genes_are_told_by_their_ids_and_not_by_their_names(converted, tmp_path):
    """`TBCE` is another gene in each file, by the order of the two."""
    first, second = (make_counts(5, 9, seed=seed)[:, :3].copy() for seed in (1, 2))
    first.obs_names = [f"first-{i}" for i in range(5)]
    first.var = pd.DataFrame({"gene_ids": ["E1", "E2", "E3"]}, index=["TBCE", "TBCE-1", "A"])
    second.var = pd.DataFrame({"gene_ids": ["E2", "E4", "E1"]}, index=["TBCE", "B", "TBCE-1"])
    paths = [tmp_path / "first.h5ad", tmp_path / "second.h5ad"]
    first.write_h5ad(paths[0])
    second.write_h5ad(paths[1])
    got = converted(paths)
    want = pd.DataFrame({"gene_ids": ["E1", "E2", "E3", "E4"]}, index=["TBCE", "TBCE-1", "A", "B"])
    pd.testing.assert_frame_equal(got.var, want)
    np.testing.assert_array_equal(dense(got.X)[:5, :3], dense(first.X))
    np.testing.assert_array_equal(dense(got.X)[5:, [1, 3, 0]], dense(second.X))
    assert not dense(got.X)[:5, 3].any() and not dense(got.X)[5:, 2].any()


def test_raw_of_all_files_is_kept_and_of_some_is_not(converted, folder, tmp_path):
    paths, parts = some_files(tmp_path)
    for path, part in zip(paths, parts, strict=True):
        part.raw = part.copy()
        part[:, :20].copy().write_h5ad(path)
    got = converted(paths)
    raws = [ad.AnnData(part.raw.X, part.obs[[]], part.raw.var[[]]) for part in parts]
    want = ad.concat(raws, join="outer")[:, got.raw.var_names]
    np.testing.assert_array_equal(dense(got.raw.X), dense(want.X))
    assert got.raw.shape[1] > got.shape[1]
    del parts[1].raw
    parts[1].write_h5ad(paths[1])
    shutil.rmtree(folder / "made.slaf")
    with pytest.warns(UserWarning, match="`part1.h5ad` has none"):
        assert converted(paths).raw is None


def test_a_folder_and_an_h5_as_one(converted, tmp_path):
    """Of the same genes, by id; the columns that only one has are left out."""
    paths = [write_mtx(tmp_path / "run"), write_h5(tmp_path / "run.h5")]
    got = converted(paths, unique_cells=True)
    want = what_was_written()
    np.testing.assert_array_equal(dense(got.X), np.vstack([dense(want.X)] * 2))
    pd.testing.assert_frame_equal(got.var, want.var)
    assert got.obs_names.tolist() == [f"{cell}-{n}" for n in (1, 2) for cell in CELLS]
    assert got.obs["source_file"].tolist() == ["run"] * 4 + ["run.h5"] * 4


def test_folders_of_one_name_are_told_apart(converted, tmp_path):
    """As Cell Ranger calls each of its folders alike."""
    paths = []
    for sample in ("a", "b"):
        (tmp_path / sample).mkdir()
        paths.append(write_mtx(tmp_path / sample / "filtered_feature_bc_matrix"))
    got = converted(paths, unique_cells=True)
    assert got.obs["source_file"].nunique() == 2


def test_a_cell_in_two_files(refused, tmp_path):
    paths = [write_mtx(tmp_path / name) for name in ("first", "second")]
    message = refused(paths)
    for word in ("`AAAC-1`", "`first`", "`second`", "unique_cells=True", "--unique-cells"):
        assert word in message


def test_a_file_whose_gene_names_are_not_unique(refused, tmp_path):
    paths, parts = some_files(tmp_path)
    parts[1].var_names = ["same"] * parts[1].n_vars
    parts[1].write_h5ad(paths[1])
    message = refused(paths)
    assert "`part1.h5ad`" in message and "`same`" in message


def test_files_without_a_gene_in_common(refused, tmp_path):
    paths, parts = some_files(tmp_path)
    parts[2].var_names = "mouse-" + parts[2].var_names
    parts[2].write_h5ad(paths[2])
    assert "No gene is in every file" in refused(paths, join="inner")


def test_a_join_that_there_is_not(refused, tmp_path):
    assert "left" in refused(some_files(tmp_path)[0], join="left")


def test_a_bad_file_among_good_ones(refused, tmp_path):
    paths, _ = some_files(tmp_path)
    bad = write_mtx(tmp_path / "bad", says=9)
    assert "matrix.mtx" in refused([*paths, bad])


def soma_of(adata: ad.AnnData, path: Path) -> Path:
    io = pytest.importorskip("tiledbsoma.io")
    io.from_anndata(str(path), adata, "RNA")
    return path


def test_a_soma_experiment(converted, tmp_path):
    adata = make_counts()[:, :30].copy()
    adata.obs = adata.obs[["cell_type", "batch", "total_counts", "n_genes", "doublet"]].copy()
    rng = np.random.default_rng(0)
    adata.obsm["X_pca"] = rng.normal(size=(60, 4))
    adata.varm["PCs"] = rng.normal(size=(30, 4))
    adata.obsp["distances"] = sparse.random(60, 60, 0.1, "csr", random_state=0)
    adata.layers["log"] = np.log1p(adata.X)
    adata.uns = {"study": "one", "colors": np.array(["#fff", "#000"])}
    assert_same(converted(soma_of(adata, tmp_path / "made.soma")), adata)


def test_a_soma_experiment_without_the_layer(refused, tmp_path):
    adata = make_counts()
    adata.obs = adata.obs[["batch"]].copy()
    io = pytest.importorskip("tiledbsoma.io")
    path = tmp_path / "made.soma"
    io.from_anndata(str(path), adata, "RNA", X_layer_name="counts")
    assert "`counts`" in refused(path)
