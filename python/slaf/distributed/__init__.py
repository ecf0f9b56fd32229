"""Runs functions on several processes: the same code inside
`with slaf.distributed.executor("dask")` has the same result, to the last bit."""

from slaf.distributed.executor import Executor, executor

__all__ = ["Executor", "executor"]
