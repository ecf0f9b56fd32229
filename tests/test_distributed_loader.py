"""Batches made by a cluster's workers are those of the local loader, whatever happens to
the workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys

import numpy as np
import polars as pl
import pytest
from batches import N, flat, ids, loader_of
from cloud_calls import assert_plain
from conftest import make_counts
from fixtures_clusters import once
from scipy import sparse
from slaf import SLAFArray, SlafError
from slaf.data import SLAFConverter
from slaf.integrations import read_slaf
from slaf.ml import cluster_tasks, prefetching
from slaf.ml.distributed import DistributedSLAFDataLoader
from worker_calls import counted

pytest.importorskip("ray")
pytest.importorskip("distributed")


@pytest.fixture(params=["ray", "dask"])
def cluster(request):
    request.getfixturevalue({"ray": "ray_workers", "dask": "dask_client"}[request.param])
    return request.param


def spread(array, cluster, **more) -> DistributedSLAFDataLoader:
    """As `loader_of`, of whose 300 cells a task has 128."""
    more = {"batch_size": 16, "return_tensors": False, "block": 8, "buffer": 64} | more
    return DistributedSLAFDataLoader(
        array, **{"cluster": cluster, "max_genes": 30, "buffers_per_task": 2} | more
    )


def same(got: dict, want: dict) -> None:
    assert list(got) == list(want)
    for name, value in want.items():
        assert type(got[name]) is type(value)
        if isinstance(value, np.ndarray):
            assert got[name].dtype == value.dtype and got[name].flags.writeable
            np.testing.assert_array_equal(got[name], value)
        elif sparse.issparse(value):
            assert (got[name] != value).nnz == 0 and got[name].data.flags.writeable
        elif isinstance(value, pl.DataFrame):
            assert got[name].equals(value)
        else:
            assert got[name] == value


@pytest.mark.parametrize(
    "options",
    [
        {"n_epochs": 2, "labels": ["cell_type", "score"]},
        {"tokenizer_type": "scgpt", "tokenizer_options": {"mask_ratio": 0.3}},
        {"compat": "slafdb", "drop_last": True, "seed": 7},
        {"raw_mode": True},
        {"tokenizer_type": "raw", "raw_format": "csr", "balance_by": "cell_type"},
        {"tokenizer": counted, "labels": "cell_type", "cells": "cell_integer_id < 200"},
        {"shuffle": False, "rank": 1, "world_size": 3},
    ],
    ids=lambda options: "-".join(options),
)
def test_batches_are_the_local_loaders(cluster, loader_array, options):
    local = loader_of(loader_array, **{"max_genes": 30} | options)
    loader = spread(loader_array, cluster, **options)
    assert (len(loader), loader.n_cells) == (len(local), local.n_cells)
    for got, want in zip(loader, local, strict=True):
        same(got, want)


def test_paths_handles_and_lists_of_them_are_sent(cluster, loader_array, halved_array):
    handle = read_slaf(loader_array.slaf_path)[20:170:2, 5:30]
    for given in (loader_array.slaf_path, handle, [handle, SLAFArray(halved_array.slaf_path)]):
        options = {"raw_mode": True, "raw_format": "csr"}
        local = loader_of(given, **options)
        for got, want in zip(spread(given, cluster, **options), local, strict=True):
            same(got, want)


def test_every_cell_comes_once_over_all_who_train(cluster, loader_array):
    ranks = [spread(loader_array, cluster, rank=at, world_size=3, n_epochs=2) for at in range(3)]
    # In turns, as they train beside each other.
    seen: dict[int, list[int]] = {0: [], 1: []}
    for batches in zip(*ranks, strict=True):
        for batch in batches:
            seen[batch["epoch"]] += batch["cell_ids"].tolist()
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(N))
    assert seen[0] != seen[1]


def test_a_killed_worker_loses_none_and_repeats_none(cluster, loader_array, tmp_path):
    def deadly(batch):
        cells = batch["cell_integer_id"].to_numpy()
        if 150 in cells and once(tmp_path / "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"cells": cells}

    loader = spread(loader_array, cluster, tokenizer=deadly, n_workers=2)
    got = [batch["cells"].tolist() for batch in loader]
    assert (tmp_path / "killed").exists()
    assert got == ids(loader_of(loader_array))
    assert sorted(flat(got)) == list(range(N))


def test_workers_that_always_die_are_told(cluster, dask_workers, loader_array, monkeypatch):
    def deadly(batch):
        os.kill(os.getpid(), signal.SIGKILL)

    # Once is enough.
    monkeypatch.setattr(cluster_tasks, "_RETRIES", 0)
    monkeypatch.setattr(dask_workers.cluster.scheduler, "allowed_failures", 0)
    with pytest.raises(SlafError, match="died in every attempt") as error:
        next(iter(spread(loader_array, cluster, tokenizer=deadly, n_workers=1)))
    assert_plain(str(error.value), "memory")


def test_what_a_worker_raises_is_raised_here(cluster, loader_array):
    def wrong(batch):
        raise LookupError("no such gene")

    with pytest.raises(LookupError) as error:
        list(spread(loader_array, cluster, tokenizer=wrong))
    assert str(error.value) == repr("no such gene") or str(error.value) == "no such gene"


def test_it_goes_on_where_it_or_the_local_loader_was(cluster, loader_array):
    whole = ids(loader_of(loader_array, n_epochs=2))
    for first, second in [(spread, loader_of), (loader_of, spread), (spread, spread)]:
        made = [
            make(loader_array, **({"cluster": cluster} if make is spread else {}), n_epochs=2)
            for make in (first, second)
        ]
        batches = iter(made[0])
        head = [next(batches)["cell_ids"].tolist() for _ in range(7)]
        batches.close()
        state = made[0].state_dict()
        assert (state["epoch"], state["batch"]) == (0, 7)
        made[1].load_state_dict(state)
        assert head + ids(made[1]) == whole
    with pytest.raises(ValueError, match="seed"):
        spread(loader_array, cluster, n_epochs=2, seed=1).load_state_dict(state)


def test_epochs_go_on_and_are_set(cluster, loader_array):
    local, loader = loader_of(loader_array), spread(loader_array, cluster)
    assert ids(loader) == ids(local) and ids(loader) == ids(local)
    local.set_epoch(5)
    loader.wait_for_queue(1, poll_interval=0.05)
    loader.set_epoch(5)
    assert ids(loader) == ids(local)


def test_no_more_is_made_than_the_bytes_allow(cluster, loader_array, tmp_path):
    def noted(batch):
        cells = batch["cell_integer_id"].to_numpy()
        (tmp_path / str(cells[0])).touch()
        return {"cells": cells, "wide": np.zeros((len(cells), 1000))}

    made = lambda: len(list(tmp_path.iterdir()))  # noqa: E731
    # A task has 8 batches of 16 × 8,000 bytes and more; the last of three has 3.
    loader = spread(loader_array, cluster, tokenizer=noted, prefetch_bytes=1)
    batches = iter(loader)
    for at in range(19):
        next(batches)
        assert made() == min(at - at % 8 + 8, 19)
    assert next(batches, None) is None
    for path in tmp_path.iterdir():
        path.unlink()
    # What a batch takes is known after the first task: then one more has room, not two.
    loader = spread(loader_array, cluster, tokenizer=noted, prefetch_bytes=2 * 8 * 16 * 8300)
    batches = iter(loader)
    next(batches)
    assert loader.wait_for_queue(poll_interval=0.05) == 8
    assert made() == 16
    assert len(list(batches)) == 18


def test_the_queue_is_waited_for_and_stopped(cluster, loader_array):
    loader = spread(loader_array, cluster, n_workers=2)
    assert loader.wait_for_queue(poll_interval=0.05) == 19
    assert loader.wait_for_queue(4) == 19
    batches = iter(loader)
    head = [next(batches)["cell_ids"].tolist() for _ in range(3)]
    loader.stop_prefetch_workers()
    with pytest.raises(SlafError, match="were stopped"):
        list(batches)
    # From its state it goes on.
    loader.load_state_dict(loader.state_dict())
    assert head + ids(loader) == ids(loader_of(loader_array))


def test_what_is_appended_meanwhile_is_not_seen(cluster, tmp_path):
    path = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(300, 40), path)
    loader = spread(str(path), cluster)
    later = make_counts(100, 40, seed=1)
    later.obs_names = "later-" + later.obs_names
    later.write_h5ad(tmp_path / "later.h5ad")
    SLAFConverter().append(tmp_path / "later.h5ad", path)
    assert sorted(flat(ids(loader))) == list(range(300))


def test_a_dataset_that_is_another_or_gone_is_told(cluster, tmp_path):
    path = tmp_path / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(300, 40), path)
    loader = spread(path, cluster)
    SLAFConverter().convert_anndata(make_counts(300, 40, seed=1), path, overwrite=True)
    with pytest.raises(SlafError, match="written anew") as error:
        list(loader)
    assert_plain(str(error.value), str(path))
    loader = spread(path, cluster)
    shutil.rmtree(path)
    with pytest.raises((SlafError, OSError)) as error:
        list(loader)
    assert_plain(str(error.value), str(path))


def test_secrets_of_a_bucket_are_not_sent_to_workers(cluster, s3, pbmc_url):
    options = {
        "aws_endpoint": s3.endpoint,
        "aws_access_key_id": "tests",
        "aws_secret_access_key": "tests",
        "aws_region": "us-east-1",
        "allow_http": "true",
    }
    array = SLAFArray(pbmc_url, storage_options=options)
    with pytest.raises(OSError, match="Secrets .* are not sent to other processes"):
        list(spread(array, cluster))


def test_other_versions_of_the_package_are_told(loader_array):
    with pytest.raises(SlafError, match="Install the same version on all nodes"):
        prefetching.make("key", "0.0.1", b"", prefetching.Span(0, 0, 1))


def test_files_of_dictionaries_are_read_here(cluster, loader_array, tmp_path):
    file = tmp_path / "vocab.json"
    names = ["<pad>", "<cls>", "<eoc>", *read_slaf(loader_array.slaf_path).var_names]
    file.write_text(json.dumps({name: at for at, name in enumerate(names)}))
    options = {"tokenizer_type": "scgpt", "tokenizer_options": {"vocabulary": str(file)}}
    local = list(loader_of(loader_array, **{"max_genes": 30} | options))
    loader = spread(loader_array, cluster, **options)
    file.unlink()
    for got, want in zip(loader, local, strict=True):
        same(got, want)


def test_what_is_missing_is_told(loader_array, monkeypatch):
    for name in ("ray", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SlafError, match="There is no cluster"):
        spread(loader_array, "auto")
    for name, extra in [("ray", "ray"), ("dask", "dask")]:
        with pytest.raises(ImportError, match=rf"pip install 'slaf-jupyter\[{extra}\]'"):
            spread(loader_array, name)
    for wrong in ({"n_workers": 0}, {"tokenizer": loader_of(loader_array).tokenizer}):
        with pytest.raises(ValueError, match="n_workers is at least 1|stays in its process"):
            spread(loader_array, "ray", **wrong)
    with pytest.raises(ValueError, match='"auto", "ray" or "dask"'):
        cluster_tasks.tasks_on("modal", {})
