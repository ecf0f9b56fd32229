"""What workers help to write is the same as without them, or does not exist."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from checks import assert_same, refusal
from commands import here
from conftest import make_counts
from fixtures_workers import of_some
from inside import SUMS
from slaf import SlafError, _slaf
from slaf.array import SLAFArray
from slaf.data import SLAFConverter
from slaf.data.sources import by_workers
from slaf.dataset import Dataset
from slaf.datasets import synthetic
from slaf.integrations import read_slaf
from slaf.ml import GeneformerTokenizer, ScGPTTokenizer
from slaf.ml.token_shards import write_token_shards


@pytest.fixture(scope="session")
def donors(tmp_path_factory) -> Path:
    """Files of every kind of matrix: by row, by column, and dense."""
    folder = tmp_path_factory.mktemp("donors") / "donors"
    folder.mkdir()
    for number, kind in enumerate(["csr", "csc", "dense"]):
        adata = make_counts(200, seed=number)
        adata.obs_names = [f"{kind}-{name}" for name in adata.obs_names]
        adata.raw = adata.copy()
        adata.X = {"csr": adata.X / 3, "csc": adata.X.tocsc(), "dense": adata.X.toarray()}[kind]
        adata.write_h5ad(folder / f"{kind}.h5ad", compression="gzip")
    return folder


@pytest.fixture(scope="session")
def alone(donors, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("alone") / "x.slaf"
    SLAFConverter().convert(donors, path)
    return path


def same_tables(got: Path, want: Path) -> None:
    ours, theirs = (_slaf.Dataset(str(path)) for path in (got, want))
    assert ours.tables() == theirs.tables()
    for name, _, columns in theirs.tables():
        told = [column for column, _ in columns]
        assert pl.DataFrame(ours.read(name, told)).equals(pl.DataFrame(theirs.read(name, told)))
    for genes in (False, True):
        sums = [pl.DataFrame(dataset.sums(genes, SUMS)) for dataset in (ours, theirs)]
        assert sums[0].equals(sums[1])


@of_some
def test_a_conversion(workers, donors, alone, tmp_path):
    before = workers.tally.tasks
    SLAFConverter().convert(donors, tmp_path / "x.slaf")
    # X and raw of each file, and again what fractions have made begin anew.
    assert workers.tally.tasks - before >= 6
    same_tables(tmp_path / "x.slaf", alone)
    assert_same(read_slaf(tmp_path / "x.slaf").to_adata(), read_slaf(alone).to_adata())


@of_some
def test_a_file_is_cut_where_its_blocks_end(synthetic_h5ad, tmp_path, workers):
    path, x = synthetic_h5ad
    before = workers.tally.tasks
    SLAFConverter().convert(path, tmp_path / "x.slaf", gene_index=False)
    assert workers.tally.tasks - before > 1
    assert (read_slaf(tmp_path / "x.slaf").X.compute() != x).nnz == 0


def test_a_file_that_is_not_compressed_is_read_here(tmp_path, by_two):
    adata, path = make_counts(), tmp_path / "x.slaf"
    adata.write_h5ad(tmp_path / "x.h5ad")
    before = by_two.tally.tasks
    SLAFConverter().convert(tmp_path / "x.h5ad", path)
    assert by_two.tally.tasks == before
    assert (read_slaf(path).X.compute() != adata.X).nnz == 0


@pytest.fixture(scope="session")
def synthetic_h5ad(tmp_path_factory):
    """A file of more values than a task has, and its X."""
    adata = synthetic(6_000, 20_000)
    path = tmp_path_factory.mktemp("synthetic") / "x.h5ad"
    adata.write_h5ad(path, compression="gzip")
    return path, adata.X


def test_the_command_converts(donors, alone, tmp_path):
    target = tmp_path / "x.slaf"
    done = here("convert", donors, target, "--workers", "processes", "--n-workers", 2)
    assert done.returncode in (0, None), done.stderr
    same_tables(target, alone)
    done = here("convert", donors, tmp_path / "y.slaf", "--n-workers", 2)
    assert "--workers" in done.stderr


def test_a_changed_file_is_refused(donors, tmp_path):
    source = by_workers.open_source(donors / "csr.h5ad")
    how = by_workers.Opening(str(donors / "csr.h5ad"), "auto", ())
    source.fingerprint = "another"
    x = by_workers.read_by_workers(source, how).x
    assert "changed" in refusal(SlafError, lambda: list(x.blocks()))


# Tokens -------------------------------------------------------------------


def shards(folder: Path) -> pl.DataFrame:
    names = json.loads((folder / "tokens.json").read_text())["shards"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "tokens.json"])
    return pl.concat([pl.read_parquet(folder / name) for name in names])


@of_some
@pytest.mark.parametrize(
    "name, kind", [("geneformer", GeneformerTokenizer), ("scgpt", ScGPTTokenizer)]
)
def test_tokens(workers, pbmc, tmp_path, name, kind):
    dataset = Dataset.open(_counts_of(pbmc, tmp_path))
    before = workers.tally.tasks
    assert write_token_shards(dataset, tmp_path / "s", name, shard_cells=300, max_genes=64) == 3
    assert workers.tally.tasks - before == 3
    found = shards(tmp_path / "s")
    assert found["cell_id"].to_list() == pbmc.obs_names.to_list()
    want = kind(dataset, max_genes=64).encode(read_slaf(dataset.path).X.compute())
    for column in {"input_ids", "values"} & want.keys():
        padded = want[column]
        rows = [row[mask] for row, mask in zip(padded, want["attention_mask"], strict=True)]
        assert found[column].to_list() == [row.tolist() for row in rows]


def _counts_of(pbmc, folder: Path) -> str:
    adata = pbmc.raw.to_adata()
    adata.X.data = np.round(np.expm1(adata.X.data))
    SLAFConverter().convert_anndata(adata, folder / "counts.slaf")
    return str(folder / "counts.slaf")


def test_the_command_writes_tokens_of_some_cells(counts_slaf, tmp_path):
    arguments = ("tokens", counts_slaf, tmp_path / "s", "--cells", "n_genes > 50")
    done = here(*arguments, "--shard-cells", 10)
    assert done.returncode is None or not done.returncode, done.stderr
    cells = SLAFArray(counts_slaf).query("SELECT cell_id FROM cells WHERE n_genes > 50")
    assert shards(tmp_path / "s")["cell_id"].to_list() == cells["cell_id"].to_list()
    assert "--overwrite" in here(*arguments).stderr
    here(*arguments, "--overwrite", "--shard-cells", 7)
    assert shards(tmp_path / "s")["cell_id"].to_list() == cells["cell_id"].to_list()


def test_what_cannot_be_tokenized_is_said(counts_slaf, tmp_path):
    dataset = Dataset.open(counts_slaf)
    for options in ({"tokenizer": "genformer"}, {"shard_cells": 0}):
        refusal(ValueError, lambda o=options: write_token_shards(dataset, tmp_path / "s", **o))
    refusal(SlafError, write_token_shards, dataset, "s3://bucket/s")


def test_shards_that_are_there_stay(counts_slaf, tmp_path):
    dataset, folder = Dataset.open(counts_slaf), tmp_path / "s"
    write_token_shards(dataset, folder, shard_cells=20)
    first = shards(folder)
    kept, lost = folder / "part-00000.parquet", folder / "part-00001.parquet"
    before = kept.stat().st_ino
    (folder / "tokens.json").unlink()
    lost.write_bytes(lost.read_bytes()[:100])
    write_token_shards(dataset, folder, shard_cells=20)
    assert kept.stat().st_ino == before
    assert shards(folder).equals(first)
    # Of other parameters they go.
    write_token_shards(dataset, folder, shard_cells=20, max_genes=5, overwrite=True)
    assert kept.stat().st_ino != before
    assert shards(folder)["input_ids"].list.len().max() == 5


# Death of the driver ------------------------------------------------------

DIE = """
    import multiprocessing, os, pathlib, signal
    from slaf.data import SLAFConverter
    from slaf.dataset import Dataset
    from slaf.distributed import executor
    from slaf.ml.token_shards import write_token_shards
    def die(what, done, total):
        if done >= 0.5 * total:
            pids = [str(child.pid) for child in multiprocessing.active_children()]
            pathlib.Path({pids!r}).write_text(" ".join(pids))
            os.kill(os.getpid(), signal.SIGKILL)
    with executor("processes", n_workers=2):
        {call}
"""


def die(call: str, folder: Path) -> None:
    """The driver dies when half is done; its workers end with it."""
    script = textwrap.dedent(DIE).format(call=call, pids=str(folder / "pids"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    assert pids
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_conversion_leaves_nothing_half_written(donors, alone, tmp_path):
    target = tmp_path / "x.slaf"
    die(f"SLAFConverter().convert({str(donors)!r}, {str(target)!r}, progress=die)", tmp_path)
    assert not target.exists()
    begun = []
    SLAFConverter().convert(donors, target, progress=lambda what, done, _: begun.append(done))
    same_tables(target, alone)
    assert not (tmp_path / ".x.slaf.partial").exists()


def test_killed_tokens_are_not_whole_and_go_on(counts_slaf, tmp_path):
    folder = tmp_path / "s"
    call = (
        f"write_token_shards(Dataset.open({counts_slaf!r}), {str(folder)!r}, shard_cells=10, "
        "progress=die)"
    )
    die(call, tmp_path)
    assert not (folder / "tokens.json").exists()
    there = {path: path.stat().st_ino for path in folder.glob("part-*")}
    assert 0 < len(there) < 6
    write_token_shards(Dataset.open(counts_slaf), folder, shard_cells=10)
    assert {path: path.stat().st_ino for path in there} == there
    write_token_shards(Dataset.open(counts_slaf), tmp_path / "whole", shard_cells=10)
    assert shards(folder).equals(shards(tmp_path / "whole"))
