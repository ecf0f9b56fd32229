"""Runs functions on several processes: put the same code inside `with
slaf.distributed.executor("dask")`, and the result is the same to the last bit."""

from slaf.distributed.executor import Executor, executor

__all__ = ["Executor", "executor"]
