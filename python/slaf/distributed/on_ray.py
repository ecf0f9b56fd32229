"""Runs tasks on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from slaf._slaf import SlafError
from slaf.distributed.engine import PATIENCE, Lost, Patience
from slaf.distributed.task_bytes import run

# Ray reads this when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
except ImportError:
    raise ImportError("The engine 'ray' needs Ray: `pip install slaf-jupyter[ray]`.") from None

#: Seconds between two checks for processors.
_TICK = 5

_DEATHS = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
)


class Ray:
    """The Ray that is initialised, or one that is started here and shut down by `close`."""

    def __init__(self, address: str | None, n_workers: int | None):
        self._owned = not ray.is_initialized()
        if self._owned:
            options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
            if address is None:
                options |= {"num_cpus": n_workers or len(os.sched_getaffinity(0))}
                options |= {"include_dashboard": False}
            try:
                ray.init(address=address or "local", **options)
            except Exception as error:
                reason = str(error).splitlines()[0].rstrip(".")
                raise SlafError(f"Ray cannot start at `{address or 'local'}`: {reason}.") from None
        self._patience = Patience()
        # Ray itself starts a task again when its worker dies.
        self._run = ray.remote(num_cpus=1, max_retries=2)(run)

    @property
    def n_workers(self) -> int:
        return int(ray.cluster_resources().get("CPU", 1))

    def submit(self, payload: bytes) -> Any:
        return self._run.remote(payload)

    def wait(self, running: Sequence[Any]) -> Sequence[Any]:
        while not (done := ray.wait(running, num_returns=1, timeout=_TICK)[0]):
            cpus = int(ray.cluster_resources().get("CPU", 0))
            self._patience.check(
                cpus, "The Ray cluster has no CPU: add a node with some.", PATIENCE
            )
        return done

    def result(self, done: Any) -> bytes:
        try:
            return ray.get(done)
        except _DEATHS:
            raise Lost from None
        except ray.exceptions.RayError as error:
            if "No module named" in str(error):
                raise SlafError(
                    "A Ray worker has no slaf: install slaf-jupyter there, in the same version "
                    "as here."
                ) from None
            raise SlafError(f"Ray has given up a task: {str(error).splitlines()[0]}.") from None

    def cancel(self, running: Sequence[Any]) -> None:
        for each in running:
            ray.cancel(each)

    def close(self) -> None:
        if self._owned:
            ray.shutdown()
