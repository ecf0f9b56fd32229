"""Workers that die, differ or see other data: the result is correct, or there is a clear
error."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from checks import refusal
from conftest import make_counts, more_cells
from distributed import Client, LocalCluster
from fixtures_workers import of_some, of_two
from slaf import SlafError
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slaf.distributed import Executor, executor, on_dask, task_bytes
from slaf.ground.workers import current, working
from slaf.integrations import read_slaf
from slaf.lazy import stream, tasks
from slaf.lazy.plan import plan_of
from slaf.scanpy import pp
from worker_calls import deadly, failing, noted

SECRETS = {"aws_access_key_id": "AKIAWHO", "aws_secret_access_key": "hush", "aws_token": "t0ken"}


@pytest.fixture(autouse=True)
def _many_tasks(monkeypatch):
    monkeypatch.setattr(stream.rows_of_a_block, "__defaults__", (20_000,))
    monkeypatch.setattr(tasks, "_BLOCKS", 1)


@pytest.fixture
def written(tmp_path) -> Path:
    SLAFConverter().convert_anndata(make_counts(3000), tmp_path / "x.slaf")
    return tmp_path / "x.slaf"


def variances(path) -> np.ndarray:
    return read_slaf(path)[2:].X.var(axis=0)


# Deaths -------------------------------------------------------------------


@of_two
def test_what_a_killed_worker_did_is_done_again(crowd, written, tmp_path):
    handle = read_slaf(written)
    handle.X = deadly(handle.X, tmp_path / "mark")
    want = pp.calculate_qc_metrics(read_slaf(written)[1:], inplace=False)
    assert not (tmp_path / "mark").exists()
    with working(crowd):
        got = pp.calculate_qc_metrics(handle[1:], inplace=False)
    # A worker was killed, and no cell is counted twice or left out.
    assert (tmp_path / "mark").exists()
    for ours, theirs in zip(got, want, strict=True):
        assert ours.equals(theirs)


def test_a_task_that_always_kills_is_given_up(written, tmp_path):
    handle = read_slaf(written)
    handle.X = deadly(handle.X, tmp_path / "mark", always=True)
    with executor("processes", n_workers=1):
        told = refusal(SlafError, lambda: handle.X.var(axis=0))
    assert "died" in told and "memory" in told


@pytest.fixture
def interruptible():
    """A job that a shell has put into the background ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@of_two
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels(crowd, tmp_path):
    """Of tasks that take ten seconds in all, most are never begun; and the workers are
    there for what comes next."""
    list(crowd.map(noted, [(tmp_path, 1000)]))
    wanted = [(tmp_path, number) for number in range(100)]

    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < 4:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        list(crowd.map(noted, wanted))
    assert list(crowd.map(noted, [(tmp_path, 2000)])) == [2000]
    assert len(list(tmp_path.iterdir())) < 30


def test_answers_come_in_the_order_of_the_tasks(two, tmp_path):
    assert list(two.map(noted, [(tmp_path, number) for number in range(7)])) == list(range(7))
    assert len(list(tmp_path.iterdir())) == 7


@of_some
@pytest.mark.parametrize(
    "kind, raised, times",
    [("OSError", OSError, 3), ("ValueError", ValueError, 1), ("Foreign", SlafError, 1)],
)
def test_what_fails_is_tried_again_if_that_may_help(crowd, tmp_path, kind, raised, times):
    told = refusal(raised, lambda: list(crowd.map(failing, [(tmp_path, 5, kind)])))
    assert "Task 5 cannot be done." in told
    assert len(list(tmp_path.iterdir())) == times


# What workers see ---------------------------------------------------------


def test_a_version_stays_that_version(written, by_two):
    handle = read_slaf(written)
    with working(None):
        want = handle[2:].X.var(axis=0)
    SLAFConverter().append(_file(more_cells(cells=400), written.parent), written)
    assert read_slaf(written).n_obs == 3400
    before = by_two.tally.tasks
    assert handle[2:].X.var(axis=0).tobytes() == want.tobytes()
    assert by_two.tally.tasks > before


def _file(adata, folder: Path) -> Path:
    adata.write_h5ad(folder / "more.h5ad")
    return folder / "more.h5ad"


def test_a_dataset_that_is_gone(written, by_two):
    handle = read_slaf(written)
    shutil.rmtree(written)
    told = refusal((SlafError, OSError), lambda: handle[2:].X.var(axis=0))
    assert "cannot open" in told and str(written) in told


def test_another_dataset_in_its_place(written, by_two):
    handle = read_slaf(written)
    SLAFConverter().convert_anndata(make_counts(2000, seed=1), written, overwrite=True)
    told = refusal(SlafError, lambda: handle[2:].X.var(axis=0))
    assert "another dataset" in told


def test_a_dataset_in_memory_stays_here(by_two):
    SLAFConverter().convert_anndata(make_counts(), "memory://there/x.slaf")
    told = refusal(SlafError, lambda: variances("memory://there/x.slaf"))
    assert "memory of this process" in told


def test_another_version_of_the_package(by_two, written, monkeypatch):
    monkeypatch.setitem(task_bytes.VERSIONS, "slaf", "0.0.1")
    told = refusal(SlafError, variances, written)
    assert "slaf 0.0.1" in told and "install" in told


# Secrets ------------------------------------------------------------------


def test_no_secret_is_sent(cloud, pbmc_url):
    options = {"aws_endpoint": cloud.endpoint, "aws_region": "us-east-1", **SECRETS}
    handle = read_slaf(pbmc_url, storage_options=options)
    matrix = plan_of(handle.X).sent(range(10), range(10))
    sent = task_bytes.packed(len, (matrix, dataset_of(handle.slaf)))
    assert b"aws_region" in sent and pbmc_url.encode() in sent
    for name, secret in SECRETS.items():
        assert name.encode() not in sent and secret.encode() not in sent


def test_workers_with_credentials_read_a_bucket(cloud, pbmc_url, pbmc_slaf):
    with executor("processes", n_workers=2) as workers:
        got = variances(pbmc_url)
        assert workers.tally.tasks > 3
    assert got.tobytes() == variances(pbmc_slaf).tobytes()


def test_workers_without_credentials_say_so(s3, pbmc_url, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = {
        "aws_endpoint": s3.endpoint,
        "aws_region": "us-east-1",
        "allow_http": "true",
        "aws_access_key_id": "tests",
        "aws_secret_access_key": "tests",
    }
    handle = read_slaf(pbmc_url, storage_options=options)
    assert handle.n_obs == 700
    with executor("processes", n_workers=1):
        told = refusal((SlafError, OSError), lambda: handle[2:].X.var(axis=0))
    assert "AWS_ACCESS_KEY_ID" in told and pbmc_url in told
    assert "tests" not in told.replace(pbmc_url, "")


# Engines ------------------------------------------------------------------


def test_an_engine_is_named_right():
    assert "'dask'" in refusal(ValueError, lambda: executor("dusk").__enter__())
    assert "address" in refusal(
        ValueError, lambda: executor("processes", "tcp://here:1").__enter__()
    )
    refusal(ValueError, lambda: executor("dask", n_workers=0).__enter__())


@pytest.mark.parametrize("engine, module", [("dask", "distributed"), ("ray", "ray")])
def test_what_to_install_is_said(engine, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"slaf.distributed.on_{engine}", raising=False)
    told = refusal(ImportError, lambda: executor(engine).__enter__())
    assert f"slaf-jupyter[{engine}]" in told


def test_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr(on_dask, "_PATIENCE", 0.5)
    told = refusal(SlafError, lambda: executor("dask", "tcp://127.0.0.1:9").__enter__())
    assert "tcp://127.0.0.1:9" in told


def test_a_scheduler_that_goes_away(tmp_path):
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
    engine = on_dask.Dask.at(cluster.scheduler_address, None)
    workers = Executor(engine)

    def close() -> None:
        while len(list(tmp_path.iterdir())) < 3:
            time.sleep(0.01)
        cluster.close()

    threading.Thread(target=close).start()
    wanted = [(tmp_path, number) for number in range(50)]
    assert "scheduler has ended" in refusal(SlafError, lambda: list(workers.map(noted, wanted)))
    engine.close()


def test_the_active_client_counts_if_asked(dask_cluster, written):
    dask_cluster.scale(2)
    dask_cluster.wait_for_workers(2)
    with Client(dask_cluster.scheduler_address), executor("auto") as workers:
        got = variances(written)
        assert workers.n_workers == 2 and workers.tally.tasks > 1
    assert current() is None
    assert got.tobytes() == variances(written).tobytes()


def test_nothing_is_active(monkeypatch):
    monkeypatch.delitem(sys.modules, "distributed", raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert "ray.init" in refusal(SlafError, lambda: executor("auto").__enter__())
