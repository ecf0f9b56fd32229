"""Reads the next items while one is processed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

#: Items that are read at the same time.
AT_ONCE = os.cpu_count() or 1


def read_ahead(
    read: Callable[[Any], Any], items: Iterable[Any], at_once: int = AT_ONCE
) -> Generator[Any, None, None]:
    """`read(item)` for each item, in order; threads read the next `at_once` of them. They
    begin no more when the iterator is closed or a read fails."""
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="slaf-ahead")
    left = iter(items)
    try:
        coming = deque(threads.submit(read, item) for item in islice(left, at_once))
        while coming:
            found = coming.popleft().result()
            coming.extend(threads.submit(read, item) for item in islice(left, 1))
            yield found
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
