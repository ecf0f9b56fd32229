"""What happens to an existing dataset: cells are added, other software writes to it,
versions come and go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from checks import assert_same, problems
from conftest import dense, make_counts, more_cells
from inside import SUMS, engine_of
from scipy import sparse
from slaf import SLAFArray, SlafError, _slaf
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slaf.dataset.displays import dataset_text
from slaf.integrations import read_slaf
from slafdb_calls import slafdb

# Appending -------------------------------------------------------------------


def test_an_append_is_seen_by_who_opens_afterwards(counts, convert, h5ad):
    dataset = convert(counts)
    before = read_slaf(dataset)
    SLAFConverter().append(h5ad(more_cells(), "more"), dataset)

    after = read_slaf(dataset)
    want = ad.concat([counts, more_cells()])
    np.testing.assert_array_equal(after.X.toarray(), dense(want.X))
    assert list(after.obs_names) == list(want.obs_names)
    for column in ("batch", "total_counts", "age", "doublet"):
        got = after.obs[column].astype(object).where(after.obs[column].notna(), None)
        values = want.obs[column].astype(object).where(want.obs[column].notna(), None)
        assert list(got) == list(values), column
    assert list(after.obs["stage"].cat.categories) == ["early", "late"]
    assert list(after.obs["source_file"].unique()) == ["made.slaf", "more.h5ad"]

    np.testing.assert_array_equal(before.X.toarray(), dense(counts.X))
    assert_same(before.to_adata(), counts)
    assert_same(read_slaf(dataset, version=1).to_adata(), counts)
    assert problems(dataset) == [] and problems(dataset, 1) == []


def test_genes_are_aligned_by_id_and_new_ones_come_last(counts, convert, h5ad):
    dataset = convert(counts)
    more = more_cells()[:, ::-1].copy()
    more.var_names = ["NEW" if n == "ENSG00007" else n for n in more.var_names]
    SLAFConverter().append(h5ad(more, "more"), dataset)
    got = read_slaf(dataset)
    want = ad.concat([counts, more], join="outer", fill_value=0)
    assert list(got.var_names) == [*counts.var_names, "NEW"]
    np.testing.assert_array_equal(got.X.toarray(), dense(want[:, got.var_names].X))
    assert list(got.var["symbol"][:40]) == list(counts.var["symbol"])
    assert problems(dataset) == []

    left = convert(counts, "left")
    SLAFConverter().append(h5ad(more, "more"), left, join="left")
    assert list(read_slaf(left).var_names) == list(counts.var_names)


def test_layers_raw_and_vectors_grow_too(h5ad, tmp_path):
    def full(adata: ad.AnnData) -> ad.AnnData:
        adata.layers["half"] = adata.X / 2
        adata.obsm["X_pca"] = np.asarray(adata.X[:, :3].toarray(), np.float32)
        adata.raw = adata.copy()
        return adata[:, 5:].copy()

    old, new = full(make_counts()), full(more_cells())
    dataset = tmp_path / "x.slaf"
    SLAFConverter().convert(h5ad(old, "old"), dataset)
    SLAFConverter().append(h5ad(new, "new"), dataset)
    got = read_slaf(dataset)
    np.testing.assert_array_equal(
        got.layers["half"].toarray(), dense(sparse.vstack([old.layers["half"], new.layers["half"]]))
    )
    np.testing.assert_array_equal(
        got.obsm["X_pca"], np.vstack([old.obsm["X_pca"], new.obsm["X_pca"]])
    )
    np.testing.assert_array_equal(got.raw.X.toarray(), dense(sparse.vstack([old.raw.X, new.raw.X])))
    np.testing.assert_array_equal(read_slaf(dataset, version=1).raw.X.toarray(), dense(old.raw.X))


def test_slafdb_reads_what_was_appended(counts, convert, h5ad, tmp_path):
    dataset = convert(counts)
    SLAFConverter().append(h5ad(more_cells(), "more"), dataset)
    slafdb("read", dataset, tmp_path / "read.npz")
    got = np.load(tmp_path / "read.npz")
    np.testing.assert_array_equal(got["X"], dense(ad.concat([counts, more_cells()]).X))


def test_a_cell_that_is_there_already_is_refused(counts, convert, h5ad):
    dataset = convert(counts)
    with pytest.raises(SlafError, match="Cell `cell-0` is in `made.slaf` and in `again.h5ad`"):
        SLAFConverter().append(h5ad(counts, "again"), dataset)
    assert SLAFArray(dataset).version == 1
    assert_same(read_slaf(dataset).to_adata(), counts)


def test_a_value_that_the_dataset_cannot_hold_is_named(counts, convert, h5ad):
    dataset = convert(counts)
    more = more_cells()
    more.X = more.X * 0.5
    with pytest.raises(SlafError, match=r"`.*`: cell 'more1-\d+', gene 'ENSG\d+' holds [\d.]+, "):
        SLAFConverter().append(h5ad(more, "more"), dataset)
    assert SLAFArray(dataset).version == 1
    assert_same(read_slaf(dataset).to_adata(), counts)
    # The next one is not hindered by what the refused one left.
    SLAFConverter().append(h5ad(more_cells(2), "other"), dataset)
    assert problems(dataset) == []


# Others ----------------------------------------------------------------------


def test_what_slafdb_appends_is_read_and_the_companions_are_not(h5ad, tmp_path):
    plain, more = make_counts(), more_cells()
    plain.obs, more.obs = plain.obs[["batch"]], more.obs[["batch"]]
    dataset = tmp_path / "x.slaf"
    SLAFConverter().convert(h5ad(plain, "plain"), dataset)
    assert _slaf.Dataset(str(dataset)).companions() == (True, True)
    slafdb("append", h5ad(more, "more"), dataset)

    array = SLAFArray(dataset)
    assert engine_of(array).companions() == (False, False)
    assert array.version is None
    want = dense(ad.concat([plain, more]).X)
    handle = read_slaf(dataset)
    np.testing.assert_array_equal(handle.X.toarray(), want)
    np.testing.assert_array_equal(handle[:, 3].X.toarray(), want[:, [3]])
    assert engine_of(array).defect() is not None
    assert "repaired" in dataset_text(dataset_of(array))

    assert _slaf.repair(engine_of(array)) is not None
    assert _slaf.Dataset(str(dataset)).defect() is None
    _slaf.index(_slaf.Dataset(str(dataset)), True)
    assert _slaf.Dataset(str(dataset)).companions() == (True, True)
    assert problems(dataset) == []
    np.testing.assert_array_equal(read_slaf(dataset)[:, 3].X.toarray(), want[:, [3]])
    slafdb("read", dataset, tmp_path / "read.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "read.npz")["X"], want)


def test_what_slafdb_wrote_wrongly_is_repaired_for_slafdb_too(h5ad, tmp_path):
    """`n_genes` is trusted by slafdb, and is not the number of stored values."""
    want = make_counts()
    want.obs = want.obs[["n_genes", "batch"]]
    dataset = tmp_path / "x.slaf"
    slafdb("convert", h5ad(want, "x"), dataset)
    assert any("cell_start_index" in problem for problem in problems(dataset))
    version, *_ = _slaf.repair(_slaf.Dataset(str(dataset)))
    assert version == 1
    assert problems(dataset) == []
    stored = SLAFArray(dataset).query("SELECT cell_start_index FROM cells")["cell_start_index"]
    starts = np.cumsum([0, *np.diff(want.X.indptr)])[:-1]
    np.testing.assert_array_equal(stored, starts)
    np.testing.assert_array_equal(read_slaf(dataset).obs["n_genes"], want.obs["n_genes"])
    slafdb("read", dataset, tmp_path / "read.npz")
    read = np.load(tmp_path / "read.npz")
    got = dict(zip(read["cell_3_genes"], read["cell_3_values"], strict=True))
    row = pd.Series(dense(want.X)[3], want.var_names)
    assert got == row[row > 0].to_dict()


def test_a_wrong_companion_is_found(counts, convert):
    dataset, other = convert(counts), convert(make_counts(seed=4), "other")
    for name in ("expression_by_gene.lance", "gene_sums.lance"):
        shutil.rmtree(dataset / name)
        shutil.copytree(other / name, dataset / name)
    assert problems(dataset)
    _slaf.index(_slaf.Dataset(str(dataset)), True)
    assert problems(dataset) == []


def test_without_companions_everything_is_there(counts, convert):
    dataset = convert(counts)
    for name in ("expression_by_gene.lance", "gene_sums.lance", "cell_sums.lance"):
        shutil.rmtree(dataset / name)
    assert_same(read_slaf(dataset).to_adata(), counts)
    np.testing.assert_array_equal(read_slaf(dataset)[:, [4]].X.toarray(), dense(counts.X)[:, [4]])


def test_the_sums_are_those_of_the_matrix(counts, convert):
    dataset = _slaf.Dataset(str(convert(counts)))
    x = dense(counts.X)
    for of_genes in (False, True):
        sums = {
            n: c.to_numpy() for n, c in zip(*columns(dataset.sums(of_genes, SUMS)), strict=True)
        }
        axis = 0 if of_genes else 1
        np.testing.assert_array_equal(sums["total"], x.sum(axis))
        np.testing.assert_array_equal(sums["nnz"], (x != 0).sum(axis))
        np.testing.assert_array_equal(sums["sum_of_squares"], (x.astype(float) ** 2).sum(axis))
        np.testing.assert_array_equal(sums["max"], x.max(axis))


def columns(table) -> tuple[list, list]:
    import pyarrow as pa

    table = pa.table(table)
    return table.column_names, table.columns


# Versions --------------------------------------------------------------------


def test_old_versions_are_listed_opened_and_removed(counts, convert, h5ad):
    dataset = convert(counts)
    for seed in (1, 2):
        SLAFConverter().append(h5ad(more_cells(seed), f"more{seed}"), dataset)
    listed = [(v, parent, what, cells) for v, parent, what, _, cells, _ in history(dataset)]
    assert listed == [
        (3, 2, "append", 110),
        (2, 1, "append", 85),
        (1, None, "convert", 60),
    ]
    assert [read_slaf(dataset, version=v).n_obs for v in (1, 2, 3)] == [60, 85, 110]
    with pytest.raises(SlafError, match="has no version 9. `slaf history` lists"):
        SLAFArray(dataset, version=9)

    removed, freed = _slaf.vacuum(str(dataset), 2)
    assert removed == [1] and freed > 0
    assert [read_slaf(dataset, version=v).n_obs for v in (2, 3)] == [85, 110]
    assert problems(dataset) == [] and problems(dataset, 2) == []
    with pytest.raises(SlafError, match="has no version 1"):
        SLAFArray(dataset, version=1)


def history(dataset: Path) -> list:
    return _slaf.history(str(dataset))


# Copies and exports ----------------------------------------------------------


def test_a_copy_in_any_order(pbmc, pbmc_slaf, tmp_path):
    order = np.random.default_rng(0).permutation(pbmc.n_obs)[:300]
    SLAFConverter().convert_handle(read_slaf(pbmc_slaf)[order], tmp_path / "part.slaf")
    want = pbmc[order].copy()
    got = read_slaf(tmp_path / "part.slaf").to_adata()
    assert_same(got, want)
    np.testing.assert_array_equal(dense(got.raw.X), dense(want.raw.X))
    assert problems(tmp_path / "part.slaf") == []


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_an_exported_file_is_what_went_in(pbmc, pbmc_slaf, tmp_path, compression):
    read_slaf(pbmc_slaf).write_h5ad(tmp_path / "out.h5ad", compression=compression)
    got = ad.read_h5ad(tmp_path / "out.h5ad")
    assert_same(got, pbmc)
    np.testing.assert_array_equal(dense(got.raw.X), dense(pbmc.raw.X))
    pd.testing.assert_frame_equal(got.raw.var, pbmc.raw.var)


def test_an_exported_part_is_the_part(counts, convert, tmp_path):
    counts.layers["twice"] = sparse.csr_matrix(counts.X * 2)
    counts.obsm["X_pca"] = np.random.default_rng(0).normal(size=(60, 3))
    handle = read_slaf(convert(counts))
    handle[10:30, ::2].write_h5ad(tmp_path / "out.h5ad")
    assert_same(ad.read_h5ad(tmp_path / "out.h5ad"), counts[10:30, ::2].copy())


def test_an_export_that_fails_leaves_nothing(counts, convert, tmp_path, monkeypatch):
    from slaf.data import exporter

    monkeypatch.setattr(exporter, "_encoded_as", lambda group, kind: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_slaf(convert(counts)).write_h5ad(tmp_path / "out.h5ad")
    assert not [name for name in os.listdir(tmp_path) if "out" in name]
