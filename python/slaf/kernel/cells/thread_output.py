"""Threads and thread pools write to the cell that started them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import wraps

from slaf.kernel.cells.ipython_kernel import CellKernel


def follow_threads(kernel: CellKernel) -> None:
    """Patches `Thread.start` and `ThreadPoolExecutor.submit`: output of a thread
    belongs to the cell that started it, and output of a pool's task to the cell
    that submitted the task."""
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    @wraps(start)
    def start_in_cell(self):
        origin, run, own_run = kernel.origin(), self.run, vars(self).get("run")

        def restore_run():
            # Otherwise the thread holds itself, and only the collector frees it.
            del self.run
            if own_run is not None:
                self.run = own_run

        def run_in_cell():
            restore_run()
            kernel.return_to(origin)
            run()

        self.run = run_in_cell
        try:
            start(self)
        except BaseException:
            restore_run()
            raise

    @wraps(submit)
    def submit_from_cell(self, fn, /, *arguments, **keywords):
        origin = kernel.origin()

        def run_in_cell():
            kernel.return_to(origin)
            return fn(*arguments, **keywords)

        return submit(self, run_in_cell)

    threading.Thread.start = start_in_cell
    ThreadPoolExecutor.submit = submit_from_cell
