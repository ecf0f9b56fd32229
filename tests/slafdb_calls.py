"""Runs slafdb in an environment of its own (`SLAFDB_PYTHON`, which install/test sets)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from conftest import dense

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
