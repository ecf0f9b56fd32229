"""Executors that are nested, shared by threads, left open, or without any worker; scripts
that forget something; and pickles of users."""

from __future__ import annotations

import contextvars
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import refusal
from conftest import make_counts
from distributed import LocalCluster
from fixtures_workers import HERE
from slaf import SlafError
from slaf.array import SLAFArray
from slaf.data import SLAFConverter
from slaf.dataset import dataset_of
from slaf.distributed import Executor, executor, on_dask, on_ray
from slaf.ground.workers import current, working
from slaf.integrations import read_slaf
from slaf.lazy import stream, tasks
from worker_calls import noted


@pytest.fixture(autouse=True)
def _many_tasks(monkeypatch):
    monkeypatch.setattr(stream.rows_of_a_block, "__defaults__", (20_000,))
    monkeypatch.setattr(tasks, "_BLOCKS", 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lives") / "x.slaf"
    SLAFConverter().convert_anndata(make_counts(3000), path)
    return path


def variances(path: Path) -> np.ndarray:
    return read_slaf(path)[2:].X.var(axis=0)


# Clusters without workers -------------------------------------------------


@pytest.fixture
def deserted():
    """A scheduler without workers."""
    with LocalCluster(
        n_workers=0, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


def test_a_dask_cluster_without_workers_is_given_up(deserted, monkeypatch, tmp_path):
    monkeypatch.setattr(on_dask, "_TICK", 0.05)
    monkeypatch.setattr(on_dask, "PATIENCE", 0.2)
    address = deserted.scheduler_address
    with executor("dask", address) as workers:
        told = refusal(SlafError, lambda: list(workers.map(noted, [(tmp_path, 1)])))
        assert "no workers" in told and address in told
        # Workers that come in time do the work.
        monkeypatch.setattr(on_dask, "PATIENCE", 60)
        timer = threading.Timer(0.5, deserted.scale, [1])
        timer.start()
        assert list(workers.map(noted, [(tmp_path, 2)])) == [2]
        # Dask warns of large tasks; ours are meant.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert list(workers.map(len, [bytes(20_000_000)])) == [20_000_000]


def test_how_long_dask_waits_is_dasks_setting(deserted, monkeypatch, tmp_path):
    import dask

    monkeypatch.setattr(on_dask, "_TICK", 0.05)
    with dask.config.set({"distributed.scheduler.no-workers-timeout": "100 ms"}):
        with executor("dask", deserted.scheduler_address) as workers:
            told = refusal(SlafError, lambda: list(workers.map(noted, [(tmp_path, 1)])))
    assert "no workers" in told


def test_a_ray_cluster_without_processors_is_given_up(ray_cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(on_ray, "_TICK", 0.05)
    monkeypatch.setattr(on_ray, "PATIENCE", 0.2)
    monkeypatch.setattr(on_ray.ray, "cluster_resources", dict)
    engine = on_ray.Ray(None, None)
    # A task needs more than there is.
    monkeypatch.setattr(engine, "_run", engine._run.options(num_cpus=1000))
    told = refusal(SlafError, lambda: list(Executor(engine).map(noted, [(tmp_path, 1)])))
    assert "no CPU" in told


# Several executors and threads --------------------------------------------


def test_the_inner_of_two_executors_works(two, written):
    with working(two), executor("processes", n_workers=1) as inner:
        before = two.tally.tasks
        got = variances(written)
        assert inner.tally.tasks > 1 and two.tally.tasks == before
    with working(two):
        assert variances(written).tobytes() == got.tobytes()
        assert two.tally.tasks > before
    assert current() is None


def test_threads_share_an_executor(two, written, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    want = variances(written)
    found = []
    with working(two):
        contexts = [contextvars.copy_context() for _ in range(4)]
        before = two.tally.tasks
    threads = [
        threading.Thread(target=context.run, args=(lambda: found.append(variances(written)),))
        for context in contexts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [array.tobytes() for array in found] == [want.tobytes()] * 4
    assert two.tally.tasks > before
    # What workers inherit is not left in the environment of this process.
    assert "OMP_NUM_THREADS" not in os.environ


def test_another_thread_has_no_executor(two, written):
    """An executor is of the block that opened it."""
    found = []
    with working(two):
        thread = threading.Thread(target=lambda: found.append(current()))
        thread.start()
        thread.join()
    assert found == [None]


# Scripts ------------------------------------------------------------------

BEGIN = """
    from slaf.distributed import executor
    from slaf.integrations import read_slaf
    from slaf.lazy import stream, tasks
    stream.rows_of_a_block.__defaults__, tasks._BLOCKS = (20_000,), 1
    def work():
        return read_slaf({path!r})[2:].X.var(axis=0)
"""


def script(
    folder: Path, path: Path, text: str, *arguments: object, **options: Any
) -> subprocess.CompletedProcess:
    file = folder / "script.py"
    begin = textwrap.dedent(BEGIN).format(path=str(path))
    file.write_text(begin + textwrap.dedent(text))
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, file, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=where, **options)


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_a_script_without_its_guard(engine, written, tmp_path):
    text = f"""
        with executor({engine!r}, n_workers=1):
            work()
    """
    done = script(tmp_path, written, text)
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]


def test_executors_that_are_left_open(written, tmp_path):
    """The script ends, and without a traceback."""
    text = """
        if __name__ == "__main__":
            opened = [executor(engine, n_workers=1) for engine in ("processes", "dask", "ray")]
            for each in opened:
                each.__enter__()
                work()
            print("done")
    """
    done = script(tmp_path, written, text)
    assert (done.returncode, done.stdout.split()) == (0, ["done"]), done.stderr
    assert "Traceback" not in done.stderr, done.stderr


GROUP = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from worker_calls import noted
    def main(folder):
        with executor(sys.argv[1], n_workers=2) as workers:
            list(workers.map(noted, [(folder, 1000)]))
            threading.Thread(target=interrupt, args=(folder,)).start()
            try:
                list(workers.map(noted, [(folder, number) for number in range(100)]))
            except KeyboardInterrupt:
                print(list(workers.map(noted, [(folder, 2000), (folder, 2001)])))
    def interrupt(folder):
        while len(list(folder.iterdir())) < 4:
            time.sleep(0.01)
        os.killpg(0, signal.SIGINT)
    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_an_interrupt_of_a_kernel_reaches_its_workers(engine, written, tmp_path):
    """Jupyter interrupts a kernel and all processes that it has started. They survive it."""
    notes = tmp_path / "notes"
    notes.mkdir()
    done = script(tmp_path, written, GROUP, engine, notes, start_new_session=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[2000, 2001]"), done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(notes.iterdir())) < 30


def test_what_is_left_early_may_be_closed_late():
    """A loop that is broken off keeps its iterator for as long as somebody refers to it."""
    with executor("dask", n_workers=1) as workers:
        left = workers.map(abs, range(-30, 0))
        assert next(left) == 30
    left.close()


# Pickles ------------------------------------------------------------------

OPTIONS = {"aws_region": "us-east-1", "aws_secret_access_key": "hush-hush", "note": "kept"}


def test_a_pickle_has_no_secrets_and_its_process_keeps_them(written):
    array = SLAFArray(written, storage_options=OPTIONS)
    handle = read_slaf(written, storage_options=OPTIONS)
    for thing in (array, handle, handle[1:].X, handle.obsm):
        sent = pickle.dumps(thing)
        assert b"hush-hush" not in sent and b"kept" in sent
        pickle.loads(sent)
    again = pickle.loads(pickle.dumps(handle.slaf))
    assert b"hush-hush" not in pickle.dumps(again)
    assert dataset_of(again).options == OPTIONS
    assert dataset_of(deepcopy(handle).slaf).options == OPTIONS


LOAD = """
    import pickle, sys
    from slaf import SlafError
    try:
        print(pickle.loads(open(sys.argv[1], "rb").read()).shape)
    except (SlafError, OSError) as error:
        print(type(error).__name__, error)
"""


def test_another_process_opens_a_pickle_with_its_own_secrets(s3, pbmc_url, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = {
        "aws_endpoint": s3.endpoint,
        "aws_region": "us-east-1",
        "allow_http": "true",
        "aws_access_key_id": "tests",
        "aws_secret_access_key": "tests-secret",
    }
    file = tmp_path / "array.pickle"
    file.write_bytes(pickle.dumps(SLAFArray(pbmc_url, storage_options=options)))
    assert b"tests-secret" not in file.read_bytes()
    assert pickle.loads(file.read_bytes()).shape == (700, 765)

    def elsewhere(**more: str) -> str:
        command = [sys.executable, "-c", textwrap.dedent(LOAD), file]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **more})
        return done.stdout + done.stderr

    told = elsewhere()
    assert "storage_options" in told and "AWS_ACCESS_KEY_ID" in told, told
    own = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret"}
    assert elsewhere(**own).strip() == "(700, 765)"
