"""Workers of each engine, which all tests share, because starting them takes longer than
their work."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from distributed import LocalCluster
from ray.cluster_utils import Cluster
from slaf.distributed import Executor
from slaf.distributed.engine import Engine
from slaf.distributed.on_dask import Dask, closed
from slaf.distributed.on_processes import Processes
from slaf.distributed.on_ray import Ray
from slaf.ground.workers import working

HERE = str(Path(__file__).parent)

#: Engines and numbers of workers, in an order in which each cluster only grows.
CROWDS = [(engine, n) for engine in ("processes", "dask", "ray") for n in (1, 2, 3)]

_ENOUGH = pytest.mark.skip("two workers say it, and to start others takes long")


def _only(chosen: Callable[[str, int], bool]) -> pytest.MarkDecorator:
    """For tests of `crowd` or `workers` that need not run on each crowd."""
    return pytest.mark.parametrize(
        "crowd",
        [crowd if chosen(*crowd) else pytest.param(crowd, marks=_ENOUGH) for crowd in CROWDS],
        ids=lambda crowd: f"{crowd[0]}-{crowd[1]}",
        indirect=True,
    )


#: For tests that kill workers.
of_two = _only(lambda engine, n: n == 2)
#: For functions that differ only in their tasks: `test_a_verb` runs on every crowd.
of_some = _only(lambda engine, n: n == 2 or engine == "processes")


@pytest.fixture(scope="session")
def _importable() -> Iterator[None]:
    """Workers of Ray find modules of tests."""
    with pytest.MonkeyPatch.context() as patch:
        path = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join(part for part in (HERE, path) if part))
        yield


@pytest.fixture(scope="session")
def dask_cluster(_importable) -> Iterator[LocalCluster]:
    """A scheduler, and no worker yet."""
    cluster = LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
    yield cluster
    closed(cluster)


@pytest.fixture(scope="session")
def ray_cluster(_importable) -> Iterator[Cluster]:
    """Ray on a node with one processor; more nodes can join."""
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def two() -> Iterator[Executor]:
    """Two processes."""
    engine = Processes(2)
    yield Executor(engine)
    engine.close()


@pytest.fixture
def by_two(two) -> Iterator[Executor]:
    """The same, for one test at work."""
    with working(two):
        yield two


@pytest.fixture(scope="session", params=CROWDS, ids=lambda crowd: f"{crowd[0]}-{crowd[1]}")
def crowd(request) -> Iterator[Executor]:
    """An executor with a number of workers."""
    engine, n = request.param
    if (engine, n) == ("processes", 2):
        yield request.getfixturevalue("two")
        return
    made = {"processes": _processes, "dask": _dask, "ray": _ray}[engine](request, n)
    yield Executor(made)
    made.close()


def _processes(request, n: int) -> Engine:
    return Processes(n)


def _dask(request, n: int) -> Engine:
    cluster = request.getfixturevalue("dask_cluster")
    cluster.scale(n)
    cluster.wait_for_workers(n)
    return Dask.at(cluster.scheduler_address, None)


def _ray(request, n: int) -> Engine:
    cluster = request.getfixturevalue("ray_cluster")
    while len(nodes := cluster.list_all_nodes()) != n:
        cluster.add_node(num_cpus=1) if len(nodes) < n else cluster.remove_node(nodes[-1])
    return Ray(None, None)


@pytest.fixture
def workers(crowd) -> Iterator[Executor]:
    """The same, active during one test."""
    with working(crowd):
        yield crowd
