"""A long day: many cells, flat memory, nothing left open."""

from __future__ import annotations

import os

import psutil
from kernels import fresh, private_ipython  # noqa: F401

CELLS = 20_000


def test_twenty_thousand_cells_in_flat_memory(fresh):
    process = psutil.Process(fresh.pid)
    sizes, descriptors, threads = [], [], []
    for _ in range(20):
        requests = {
            fresh.client.execute("x = 1; print(x)", store_history=False)
            for _ in range(CELLS // 20)
        }
        while requests:
            message = fresh.client.get_iopub_msg(timeout=60)
            if message["content"].get("execution_state") == "idle":
                requests.discard(message["parent_header"].get("msg_id"))
        while fresh.client.shell_channel.msg_ready():
            assert fresh.client.get_shell_msg(timeout=1)["content"]["status"] == "ok"
        sizes.append(process.memory_info().rss)
        descriptors.append(len(os.listdir(f"/proc/{process.pid}/fd")))
        threads.append(process.num_threads())
    # The first rounds fill caches.
    assert sizes[-1] - sizes[5] < 8 << 20
    assert max(descriptors[5:]) - min(descriptors[5:]) <= 4
    assert max(threads[5:]) - min(threads[5:]) <= 2
