"""A Dask and a Ray cluster on this machine, for the modules that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def dask_workers() -> Iterator[object]:
    """Two worker processes of Dask, and a client of theirs."""
    import dask
    from distributed import Client, LocalCluster

    # A busy machine takes its time to start a worker.
    patience = {"distributed.comm.timeouts.connect": "300s"}
    with (
        dask.config.set(patience),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def dask_client(dask_workers) -> Iterator[object]:
    """The client as Dask's current client."""
    with dask_workers.as_current():
        yield dask_workers


@pytest.fixture(scope="module")
def ray_workers() -> Iterator[object]:
    """Two worker processes of Ray, or the Ray that other tests have started: a process
    can have only one."""
    import ray

    if ray.is_initialized():
        yield ray
        return

    # Workers can import the modules that the tests import.
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        _start(ray)
    yield ray
    ray.shutdown()


def _start(ray) -> None:
    """Starts Ray, in three attempts: it fails if it has not started after 30 seconds,
    as can happen on a busy machine."""
    for last in (False, False, True):
        try:
            ray.init(
                "local",
                num_cpus=2,
                object_store_memory=100 << 20,
                include_dashboard=False,
                log_to_driver=False,
            )
            return
        except Exception:
            ray.shutdown()
            if last:
                raise


def once(flag: Path) -> bool:
    """Whether this is the first call, in any process."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
