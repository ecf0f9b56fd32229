"""Verbs on more than one process: the same notebook inside
`with slaf.distributed.executor("dask")`, and the same result to the last bit."""

from slaf.distributed.executor import Executor, executor

__all__ = ["Executor", "executor"]
