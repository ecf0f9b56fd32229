"""The format in both directions, against slafdb in an environment of its own
(`SLAFDB_PYTHON`, which install/test sets)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from conftest import dense, make_counts
from inside import engine_of
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf

SIDE = Path(__file__).with_name("slafdb_side.py")


def slafdb(command: str, source: Path, target: Path) -> None:
    python = os.environ["SLAFDB_PYTHON"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, str(SIDE), command, str(source), str(target)],
        cwd=target.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def check_what_slafdb_reads(dataset: Path, want: ad.AnnData, tmp_path: Path) -> None:
    slafdb("read", dataset, tmp_path / "read.npz")
    got = np.load(tmp_path / "read.npz")
    np.testing.assert_array_equal(got["X"], dense(want.X).astype(np.float32))
    np.testing.assert_allclose(got["sum"][0], dense(want.X).sum(dtype=np.float64), rtol=1e-4)
    assert list(got["obs_names"]) == list(want.obs_names)
    assert list(got["var_names"]) == list(want.var_names)
    row = dense(want.X)[3]
    stored = dict(zip(got["cell_3_genes"], got["cell_3_values"], strict=True))
    for gene, value in zip(want.var_names, row, strict=True):
        assert stored.get(gene, 0) == value
    for column in want.obs.columns:
        if f"obs/{column}" in got and want.obs[column].dtype.kind in "iu":
            values = [None if v is pd.NA else v for v in want.obs[column]]
            assert list(got[f"obs/{column}"]) == [str(v) for v in values]
        if f"obs/{column}" in got and want.obs[column].dtype == "category":
            values = [None if v != v else v for v in want.obs[column].astype(object)]
            assert list(got[f"obs/{column}"]) == [str(v) for v in values]
    for key, value in want.obsm.items():
        np.testing.assert_allclose(got[f"obsm/{key}"], value)
    for key, value in want.obsp.items():
        np.testing.assert_allclose(got[f"obsp/{key}"], dense(value), rtol=1e-6)
    for key, value in want.layers.items():
        if key is None:
            continue
        np.testing.assert_allclose(got[f"layers/{key}"], dense(value), rtol=1e-6)


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
