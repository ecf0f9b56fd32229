"""Runs tasks on a Ray or Dask cluster, which repeats a task if its worker dies."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from slaf._slaf import SlafError

#: How often a task is run again after its worker died.
_RETRIES = 3


class Tasks(Protocol):
    """Runs tasks on a cluster."""

    def pickled(self, value: Any) -> bytes:
        """Pickles `value`, including functions that a notebook defines."""

    def share(self, content: bytes) -> Any:
        """Sends `content` to the cluster once. Returns a reference to pass to tasks."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Starts a task that calls `function`."""

    def ready(self, tasks: list[Any]) -> int:
        """The number of tasks that have ended."""

    def result(self, task: Any) -> Any:
        """Waits for a task and returns its result.

        Raises
        ------
        Exception
            The function raised it.
        SlafError
            Workers died in every attempt at the task.
        """

    def cancel(self, tasks: list[Any]) -> None:
        """Ends tasks whose results are no longer needed."""


class RayTasks:
    """Tasks of the Ray that is initialised. `options` are those of `ray.remote`."""

    def __init__(self, options: dict[str, Any]):
        import ray
        from ray import cloudpickle

        self._ray, self.pickled = ray, cloudpickle.dumps
        self._options = {"num_cpus": 1, "max_retries": _RETRIES, **options}
        # Ray sends a function once per remote function.
        self._remote: dict[Callable[..., Any], Any] = {}

    def share(self, content: bytes) -> Any:
        # Workers map an array and do not copy it.
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
    """Tasks of a `dask.distributed.Client`."""

    def __init__(self, client: Any):
        from distributed.protocol import pickle

        self._client, self.pickled = client, pickle.dumps

    def share(self, content: bytes) -> Any:
        # A task and not `scatter`, because scattered data is lost with its worker.
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
    """The tasks of a cluster: "ray", "dask", or "auto", which takes the one that is active.
    `ray_options` are those of `ray.remote`.

    Raises
    ------
    ValueError
        `cluster` is none of these.
    ImportError
        The library of the cluster is not installed.
    SlafError
        No cluster is active.
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
    """The library `name`, if `cluster` asks for it, or is "auto" and the library is
    imported already."""
    module = {"ray": "ray", "dask": "distributed"}[name]
    if cluster == name:
        try:
            return __import__(module)
        except ImportError:
            raise ImportError(
                f"Batches from {name.title()} workers need {module}: "
                f"`pip install 'slaf-jupyter[{name}]'`."
            ) from None
    # If a cluster is active, its library is imported already.
    return sys.modules.get(module) if cluster == "auto" else None


def _client(distributed: Any) -> Any:
    try:
        return distributed.get_client()
    except ValueError:
        return None


def _died(error: Exception) -> SlafError:
    return SlafError(
        f"Workers died in every attempt to make batches ({type(error).__name__}). The "
        "cluster's logs say why; too little memory is a common reason."
    )


def _same(content: bytes) -> bytes:
    return content
