"""Tests that need torch, in an environment that has it and this package:

    pip install torch && python -m pytest tests/with_torch

torch is not in the environment of the other tests, because its wheels for Linux include
5 GB of CUDA. Without torch, these tests are not skipped; they fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from scipy import sparse
from slaf.data import SLAFConverter
from slaf.ml import SLAFDataLoader, SLAFIterableDataset
from torch.utils.data import DataLoader

ROOT = Path(__file__).parents[2]
N = 101


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    x = sparse.random(N, 50, 0.3, "csr", random_state=0, dtype=np.float32)
    x.data = np.ceil(x.data * 9)
    obs = pd.DataFrame({"kind": ["a", "b"] * 50 + ["a"]}, index=[f"c{i}" for i in range(N)])
    target = tmp_path_factory.mktemp("torch") / "x.slaf"
    SLAFConverter().convert_anndata(ad.AnnData(x, obs=obs), target)
    return target


def test_tensors_view_the_arrays_that_numpy_gets(path):
    more = {"batch_size": 16, "max_genes": 20, "labels": "kind", "verbose": False}
    arrays = SLAFDataLoader(path, tensors=False, **more)
    for tensors, plain in zip(SLAFDataLoader(path, **more), arrays, strict=True):
        for name, values in plain.items():
            assert isinstance(tensors[name], torch.Tensor)
            np.testing.assert_array_equal(tensors[name].numpy(), values)
        assert tensors["input_ids"].dtype == torch.long
        assert tensors["attention_mask"].dtype == torch.bool


def test_raw_batches_as_sparse_tensors(path):
    more = {"batch_size": 16, "raw_mode": True, "verbose": False}
    csr = SLAFDataLoader(path, raw_format="csr", **more)
    for tensors, plain in zip(SLAFDataLoader(path, raw_format="torch", **more), csr, strict=True):
        assert tensors["x"].layout == torch.sparse_csr
        np.testing.assert_array_equal(tensors["x"].to_dense().numpy(), plain["x"].toarray())


def test_a_dataset_for_torchs_loader(path):
    dataset = SLAFIterableDataset(path, None, batch_size=16, max_genes=20, verbose=False)
    assert isinstance(dataset, torch.utils.data.IterableDataset)
    seen = torch.cat([batch["cell_ids"] for batch in DataLoader(dataset, batch_size=None)])
    assert sorted(seen.tolist()) == list(range(N))
    with pytest.raises(RuntimeError, match="cannot be used in a forked process"):
        list(DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork"))


def test_two_processes_share_each_epoch(path):
    script = ROOT / "docs" / "examples" / "train_distributed.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", script, path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.findall(r"rank (\d): loss ([\d.]+), cells \[(.*?)\]", done.stdout)
    assert sorted(rank for rank, *_ in found) == ["0", "1"]
    cells = [[int(c) for c in listed.split(",")] for *_, listed in found]
    for epoch in range(2):
        half = N // 2
        both = [c for mine in cells for c in mine[epoch * half : (epoch + 1) * half]]
        assert len(both) == len(set(both)) == 100


def test_the_notebook_trains():
    path = ROOT / "notebooks" / "train_tokens.ipynb"
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in o.get("data", {}) for o in outputs)
