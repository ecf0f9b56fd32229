"""A long session: many cells, constant memory, nothing left open."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import psutil
import pytest
from kernels import PATIENCE, Kernel, only, stream

CELLS = 20_000
#: Cells of all kinds; a whole day has 20,000.
MIXED = int(os.environ.get("SLAF_SOAK_CELLS", "1500"))
SEED = int(os.environ.get("SLAF_SOAK_SEED", "1"))
ROUNDS = 20
#: Of code that computes, and of code that awaits.
INTERRUPTED = {"KeyboardInterrupt", "CancelledError"}


class Sizes:
    """What a kernel takes, round for round."""

    def __init__(self, kernel: Kernel):
        self.process = psutil.Process(kernel.pid)
        self.memory, self.descriptors, self.threads = [], [], []

    def look(self) -> None:
        self.memory.append(self.process.memory_info().rss)
        self.descriptors.append(self._open())
        self.threads.append(self.process.num_threads())

    def _open(self) -> int:
        """Descriptors that stay open: on a busy machine, some are just being closed."""
        found = []
        for _ in range(5):
            found.append(len(os.listdir(f"/proc/{self.process.pid}/fd")))
            time.sleep(0.05)
        return min(found)

    def check(self, lost: int = 0) -> None:
        """That all is as it was, but for some descriptors that were `lost`."""
        # The first rounds fill caches.
        assert self.memory[-1] - self.memory[5] < 8 << 20, self.memory
        assert max(self.descriptors[5:]) - min(self.descriptors[5:]) <= 4 + lost, self.descriptors
        assert max(self.threads[5:]) - min(self.threads[5:]) <= 2, self.threads


def test_twenty_thousand_cells_in_flat_memory(fresh):
    sizes = Sizes(fresh)
    for _ in range(ROUNDS):
        requests = {
            fresh.client.execute("x = 1; print(x)", store_history=False)
            for _ in range(CELLS // ROUNDS)
        }
        while requests:
            message = fresh.client.get_iopub_msg(timeout=PATIENCE)
            if message["content"].get("execution_state") == "idle":
                requests.discard(message["parent_header"].get("msg_id"))
        while fresh.client.shell_channel.msg_ready():
            assert fresh.client.get_shell_msg(timeout=PATIENCE)["content"]["status"] == "ok"
        sizes.look()
    sizes.check()


def expression(n: int):
    return (
        f"{n} * 2",
        "ok",
        lambda outs: only(outs, "execute_result")["data"]["text/plain"] == str(n * 2),
    )


def printed(n: int):
    code = f"for i in range({n % 50}): print(i, 'größe')"
    return code, "ok", lambda outs: stream(outs).count("größe\n") == n % 50


def failed(n: int):
    code, name = [
        (f"{n} / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("def f(): return nothing\nf()", "NameError"),
        ("class Odd(Exception): pass\nraise Odd('x' * 100)", "Odd"),
    ][n % 4]
    return code, name, lambda outs: only(outs, "error")["ename"] == name


def displayed(n: int):
    code = (
        f"from IPython.display import HTML, display\nfor i in range(3): display(HTML('<b>{n}</b>'))"
    )
    return (
        code,
        "ok",
        lambda outs: (
            [m["content"]["data"]["text/html"] for m in outs if m["msg_type"] == "display_data"]
            == [f"<b>{n}</b>"] * 3
        ),
    )


def awaited(n: int):
    code = f"import asyncio\nprint('before')\nawait asyncio.sleep({n % 3 / 1000})\n{n}"
    return (
        code,
        "ok",
        lambda outs: (
            only(outs, "execute_result")["data"]["text/plain"] == str(n)
            and stream(outs) == "before\n"
        ),
    )


def queried(n: int):
    code = f"%%sql\nSELECT sum(a) AS total, count(*) AS n FROM small WHERE a >= {n % 100}"
    total = str(sum(range(n % 100, 100)))
    return code, "ok", lambda outs: total in only(outs, "execute_result")["data"]["text/plain"]


def timed(n: int):
    return (
        f"%time {n} + 1",
        "ok",
        lambda outs: (
            "Wall time" in stream(outs)
            and only(outs, "execute_result")["data"]["text/plain"] == str(n + 1)
        ),
    )


def shelled(n: int):
    # A child that an interrupt missed while it started may say its word here, too.
    return f"!echo word {n}", "ok", lambda outs: f"word {n}" in stream(outs).splitlines()


def computed(n: int):
    return f"sum(i * i for i in range({n} * 5000))", "ok", lambda outs: only(outs, "execute_result")


KINDS = [expression, printed, failed, displayed, awaited, queried, timed, shelled, computed]
ENDLESS = [
    "while True: pass",
    "import time; time.sleep(1000)",
    "import asyncio; await asyncio.sleep(1000)",
    "import subprocess; subprocess.run(['sleep', '1000'])",
]


@pytest.mark.timeout(0 if MIXED > 2000 else 900)
def test_mixed_cells_and_interrupts_in_flat_memory(fresh):
    rng, sizes, ends = random.Random(SEED), Sizes(fresh), Counter()
    # Full tracebacks keep the tree of each file in which something was ever struck.
    fresh.run("%xmode Minimal")
    fresh.run("import polars as pl\nsmall = pl.DataFrame({'a': range(100)})")
    for number in range(MIXED):
        if number % 10 < 9:
            kind, struck = rng.choice(KINDS), False
        else:
            kind, struck = rng.choice([*KINDS, *ENDLESS]), True
        if kind in ENDLESS:
            reply = end_of(fresh, kind, rng.random() * 0.03)
            assert reply.get("ename") in INTERRUPTED, (number, kind, reply)
            ends["endless"] += 1
        else:
            # Few different codes: IPython keeps the lines of each for tracebacks.
            code, status, right = kind(rng.randrange(20))
            reply, outputs = run(fresh, code, rng.random() * 0.01 if struck else None)
            end = reply.get("ename", reply["status"])
            if not struck or end not in INTERRUPTED:
                assert end == status, (number, code, reply)
                # Who takes the interrupt itself, as a shell does, has said less.
                said = [m["content"] for m in outputs]
                assert struck or right(outputs), f"{number}: {code}: {said}"
            ends[kind.__name__, "struck" if struck else "alone", end] += 1
        if (number + 1) % (MIXED // ROUNDS) == 0:
            fresh.run("import gc; gc.collect()", silent=True)
            sizes.look()
    print(f"{MIXED} cells: {dict(ends)}")
    print(f"memory {sizes.memory}, descriptors {sizes.descriptors}, threads {sizes.threads}")
    # An interrupt while a command gets its descriptors, or gives them back.
    sizes.check(lost=MIXED // 1000)


def test_an_interrupt_at_any_moment_loses_no_reply(fresh):
    """Before a cell begins, in it, between its end and its reply, and after."""
    rng, ends = random.Random(SEED), Counter()
    for _ in range(MIXED):
        reply, _ = run(fresh, rng.choice(KINDS[:5])(rng.randrange(20))[0], rng.random() * 0.006)
        ends[reply.get("ename", reply["status"])] += 1
    assert set(ends) & INTERRUPTED and ends["ok"], ends


def run(kernel: Kernel, code: str, strike: float | None) -> tuple[dict, list[dict]]:
    """A cell, which an interrupt follows after some time, if it is still there."""
    request = kernel.send(code, store_history=False)
    if strike is not None:
        time.sleep(strike)
        interrupt(kernel)
    return kernel.reply(request), kernel.outputs(request)


def end_of(kernel: Kernel, code: str, strike: float) -> dict:
    """The reply of a cell that only an interrupt ends, some time after it began."""
    request = kernel.send(code, store_history=False)
    kernel.hear(request, "execute_input")
    time.sleep(strike)
    interrupt(kernel)
    reply = kernel.reply(request)
    kernel.outputs(request)
    return reply


def interrupt(kernel: Kernel) -> None:
    # Its reply is waited for: one that is late strikes nobody.
    strike = kernel.request("interrupt_request", {}, "control")
    assert kernel.reply(strike, channel="control")["status"] == "ok"


def test_an_interrupt_between_a_request_and_its_cell(fresh):
    """It is nobody's, and the request has its answer."""
    fresh.run(
        "import os, signal\n"
        "kernel = get_ipython().kernel\n"
        "enter = kernel.enter\n"
        "def struck(*given, **named):\n"
        "    kernel.enter = enter\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return enter(*given, **named)\n"
        "kernel.enter = struck"
    )
    assert fresh.value("6 * 7") == "42"
