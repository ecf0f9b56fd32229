"""The format in both directions, with slafdb."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import dense, make_counts
from inside import engine_of
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slafdb_calls import check_what_slafdb_reads, slafdb


def test_slafdb_reads_ours_real(pbmc, pbmc_slaf, tmp_path):
    check_what_slafdb_reads(pbmc_slaf, pbmc, tmp_path)


def test_slafdb_reads_ours_counts(counts, convert, tmp_path):
    counts.layers["doubled"] = counts.X * 2
    counts.obsm["X_pca"] = (
        np.random.default_rng(0).normal(size=(counts.n_obs, 4)).astype(np.float32)
    )
    check_what_slafdb_reads(convert(counts), counts, tmp_path)


@pytest.mark.parametrize("cells", [60, 5300])
@pytest.mark.parametrize("fractional", [False, True])
def test_we_read_slafdbs(tmp_path, cells, fractional):
    """5,300 cells are two fragments. `n_genes` is in obs, and is not the number
    of stored values: slafdb derives its row offsets from it, wrongly."""
    want = make_counts(cells, 30)
    want.obs = want.obs[["cell_type", "batch", "n_genes", "total_counts"]]
    if fractional:
        want.X = (want.X * 0.37).astype(np.float32)
    want.write_h5ad(tmp_path / "x.h5ad")
    slafdb("convert", tmp_path / "x.h5ad", tmp_path / "x.slaf")
    handle = read_slaf(tmp_path / "x.slaf")
    np.testing.assert_array_equal(handle.X.toarray(), dense(want.X))
    np.testing.assert_array_equal(handle[7:40, [3, 1]].X.toarray(), dense(want[7:40, [3, 1]].X))
    assert list(handle.obs_names) == list(want.obs_names)
    np.testing.assert_array_equal(handle.obs["n_genes"], want.obs["n_genes"])
    assert "cell_start_index" in engine_of(handle.slaf).defect()


def test_ours_again_has_no_defect(pbmc_slaf):
    assert engine_of(read_slaf(pbmc_slaf).slaf).defect() is None


def test_convert_of_a_dataset_that_slafdb_wrote_round_trips(tmp_path):
    want = make_counts(80, 30)
    want.obs = want.obs[["batch"]]
    want.write_h5ad(tmp_path / "x.h5ad")
    slafdb("convert", tmp_path / "x.h5ad", tmp_path / "x.slaf")
    again = read_slaf(tmp_path / "x.slaf").to_adata()
    SLAFConverter().convert_anndata(again, tmp_path / "again.slaf")
    np.testing.assert_array_equal(read_slaf(tmp_path / "again.slaf").X.toarray(), dense(want.X))
