"""Event loops that keep running, whatever cells do to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine


def run_until_ended(
    loop: asyncio.AbstractEventLoop, serve: Callable[[], Coroutine], ended: Callable[[], bool]
) -> None:
    """Runs `serve()` in `loop` until `ended()`.

    An interrupt or a SystemExit in a task that a cell left behind ends only that
    task. If a cell stops the loop, the loop runs again; if a cell cancels
    `serve()`, that is called again.
    """
    task = loop.create_task(serve())
    while not task.done():
        try:
            loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
            pass
        except RuntimeError:
            if task.done() or loop.is_closed() or loop.is_running():
                raise
        if task.cancelled() and not ended():
            task = loop.create_task(serve())
    if not task.cancelled():
        task.result()


def cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancels the tasks that cells left behind, so that their `finally` runs."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with contextlib.suppress(KeyboardInterrupt, SystemExit, RuntimeError):
            loop.run_until_complete(asyncio.wait(left, timeout=1))
