"""Runs slafdb in its own environment (`SLAFDB_PYTHON`, which install/test sets)."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from conftest import dense

SIDE = Path(__file__).with_name("slafdb_side.py")


@cache
def _process(kind: str) -> subprocess.Popen:
    """A process that runs until the tests end and close its standard input."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.Popen(
        [os.environ["SLAFDB_PYTHON"], str(SIDE)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def slafdb(command: str, source: Path, target: Path) -> None:
    """Runs a command of `slafdb_side.py`."""
    process = _process("tokens" if command == "tokens" else "datasets")
    print(json.dumps([command, str(source), str(target)]), file=process.stdin, flush=True)
    answer = process.stdout.readline()
    assert answer, f"slafdb has died of `{command}`"
    wrong = json.loads(answer)
    assert wrong is None, wrong


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
