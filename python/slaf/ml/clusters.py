"""Runs tasks on a Ray or Dask cluster, which repeats the tasks of a worker that died."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from slaf._slaf import SlafError

#: How often a task is run again whose worker has died.
_RETRIES = 3


class Tasks(Protocol):
    """What is asked of a cluster."""

    def pickled(self, value: Any) -> bytes:
        """`value`, functions of a notebook too."""

    def share(self, content: bytes) -> Any:
        """What stands for `content` among the arguments of tasks."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A task that calls `function`."""

    def ready(self, tasks: list[Any]) -> int:
        """How many of the tasks have ended."""

    def result(self, task: Any) -> Any:
        """What a task gives, once it does.

        Raises
        ------
        Exception
            What the function has raised.
        SlafError
            Its worker has died again and again.
        """

    def cancel(self, tasks: list[Any]) -> None:
        """Ends tasks that nobody waits for."""


class RayTasks:
    """Tasks of an initialised Ray, with `options` of `ray.remote`."""

    def __init__(self, options: dict[str, Any]):
        import ray
        from ray import cloudpickle

        self._ray, self.pickled = ray, cloudpickle.dumps
        self._options = {"num_cpus": 1, "max_retries": _RETRIES, **options}
        # Ray sends a function once for each of these.
        self._remote: dict[Callable[..., Any], Any] = {}

    def share(self, content: bytes) -> Any:
        # An array is mapped by the workers, and not copied.
        return self._ray.put(np.frombuffer(content, np.uint8))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if function not in self._remote:
            self._remote[function] = self._ray.remote(**self._options)(function)
        return self._remote[function].remote(*arguments)

    def ready(self, tasks: list[Any]) -> int:
        if not tasks:
            return 0
        return len(self._ray.wait(tasks, num_returns=len(tasks), timeout=0)[0])

    def result(self, task: Any) -> Any:
        failures = self._ray.exceptions
        try:
            return self._ray.get(task)
        except failures.RayTaskError as error:
            raise error.cause from None
        except failures.RayError as error:
            raise _died(error) from None

    def cancel(self, tasks: list[Any]) -> None:
        # The cluster may have ended before.
        if self._ray.is_initialized():
            for task in tasks:
                self._ray.cancel(task)


class DaskTasks:
    """Tasks of a client of dask.distributed."""

    def __init__(self, client: Any):
        from distributed.protocol import pickle

        self._client, self.pickled = client, pickle.dumps

    def share(self, content: bytes) -> Any:
        # A task of its own and not scattered: what is scattered dies with its worker.
        return self._client.submit(_same, content, pure=False)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._client.submit(function, *arguments, pure=False)

    def ready(self, tasks: list[Any]) -> int:
        return sum(task.done() for task in tasks)

    def result(self, task: Any) -> Any:
        from distributed.scheduler import KilledWorker

        try:
            return task.result()
        except KilledWorker as error:
            raise _died(error) from None

    def cancel(self, tasks: list[Any]) -> None:
        # The cluster may have ended before.
        if tasks and self._client.status == "running":
            self._client.cancel(tasks)


def tasks_on(cluster: str, ray_options: dict[str, Any]) -> Tasks:
    """Tasks on "ray", "dask" or (with "auto") the one of both that is there; `ray_options`
    are of `ray.remote`.

    Raises
    ------
    ValueError
        `cluster` is something else.
    ImportError
        It is not installed.
    SlafError
        There is none.
    """
    if cluster not in ("auto", "ray", "dask"):
        raise ValueError(f'cluster is "auto", "ray" or "dask", not {cluster!r}.')
    ray, distributed = (_imported(name, cluster) for name in ("ray", "dask"))
    if ray is not None and ray.is_initialized():
        return RayTasks(ray_options)
    client = None if distributed is None else _client(distributed)
    if client is not None:
        return DaskTasks(client)
    raise SlafError(
        "There is no cluster: call `ray.init()` or make a `dask.distributed.Client` first. "
        "On one machine, `SLAFDataLoader` does without."
    )


def _imported(name: str, cluster: str) -> Any:
    """The library of a cluster that is, or may be, asked for."""
    module = {"ray": "ray", "dask": "distributed"}[name]
    if cluster == name:
        try:
            return __import__(module)
        except ImportError:
            raise ImportError(
                f"Batches from {name.title()} workers need {module}: "
                f"`pip install 'slaf-jupyter[{name}]'`."
            ) from None
    # A cluster that was begun has its library here.
    return sys.modules.get(module) if cluster == "auto" else None


def _client(distributed: Any) -> Any:
    try:
        return distributed.get_client()
    except ValueError:
        return None


def _died(error: Exception) -> SlafError:
    return SlafError(
        f"Workers that were to make batches died again and again ({type(error).__name__}). The "
        "cluster's logs say why; too little memory is a common reason."
    )


def _same(content: bytes) -> bytes:
    return content
