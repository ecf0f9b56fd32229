"""Measures kernels against ipykernel and xeus-python: launch, round trips, large outputs,
replies while a cell is running, memory.

    python tests/bench/kernel.py slaf python3 [xpython]

The arguments are names of installed kernelspecs; the first is ours. They take turns in
each measurement, in one run. Do not use the machine meanwhile."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from queue import Empty

from jupyter_client.manager import KernelManager


def parent(message: dict) -> str | None:
    """The id of the request that a message answers; in xeus-python, some messages
    answer none."""
    return (message["parent_header"] or {}).get("msg_id")


class Kernel:
    def __init__(self, name: str):
        self.manager = KernelManager(kernel_name=name)
        self.begun = time.perf_counter()
        self.manager.start_kernel()
        self.client = self.manager.blocking_client()
        self.client.start_channels(hb=False)
        self.client.control_channel.start()

    def wait(self, request: str, channel: str = "shell", timeout: float = 60) -> dict:
        get = getattr(self.client, f"get_{channel}_msg")
        while True:
            message = get(timeout=timeout)
            if parent(message) == request:
                return message

    def idle(self, request: str) -> tuple[float, int]:
        """The time at which the last message of a request arrived, and how much text
        arrived before it. A kernel may lose output, including `idle`, so ten seconds of
        silence also end the wait."""
        text, last = 0, time.perf_counter()
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=10)
            except Empty:
                return last, text
            if parent(message) != request:
                continue
            last = time.perf_counter()
            if message["msg_type"] == "stream":
                text += len(message["content"]["text"])
            if message["content"].get("execution_state") == "idle":
                return last, text

    def run(self, code: str) -> float:
        return self.flood(code)[0]

    def flood(self, code: str) -> tuple[float, int]:
        """Seconds that a cell took, and the number of characters that arrived."""
        begun = time.perf_counter()
        request = self.client.execute(code)
        self.wait(request)
        last, text = self.idle(request)
        return last - begun, text

    def ask(self, msg_type: str, content: dict, channel: str) -> float:
        begun = time.perf_counter()
        message = self.client.session.msg(msg_type, content)
        getattr(self.client, f"{channel}_channel").send(message)
        self.wait(message["header"]["msg_id"], channel)
        return time.perf_counter() - begun

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def launch(name: str) -> tuple[float, float]:
    """Seconds to the first kernel_info_reply, and to the first result."""
    kernel = Kernel(name)
    kernel.wait(kernel.client.kernel_info())
    info = time.perf_counter() - kernel.begun
    kernel.wait(kernel.client.execute("1 + 1"))
    first = time.perf_counter() - kernel.begun
    kernel.stop()
    return info, first


def memory(kernel: Kernel) -> tuple[float, float]:
    """Private memory of the process, and its proportional share of all memory, in
    MiB."""
    rollup = Path(f"/proc/{kernel.manager.provisioner.pid}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024, sizes["Pss"] / 1024


def busy(kernel: Kernel, name: str, times: int) -> dict[str, list[float]]:
    """Milliseconds until answers arrive while a cell computes."""
    kernel.run("a_long_name = 1")
    cell = kernel.client.execute("import time\nend = time.time() + 8\nwhile time.time() < end: 1")
    time.sleep(0.5)
    asked = {
        "kernel_info, control": ("kernel_info_request", {}, "control"),
        "completion, shell": ("complete_request", {"code": "a_lo", "cursor_pos": 4}, "shell"),
    }
    found: dict[str, list[float]] = {}
    for what, request in asked.items():
        times_of = found.setdefault(what, [])
        for _ in range(times):
            try:
                times_of.append(1000 * kernel.ask(*request))
            except Empty:
                break
            if times_of[-1] > 1000:
                break
    kernel.idle(cell)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kernels", nargs="+")
    parser.add_argument("--launches", type=int, default=7)
    parser.add_argument("--round-trips", type=int, default=1000)
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}

    def note(what: str, name: str, value: float) -> None:
        rows.setdefault(what, {})[name] = value

    launches: dict[str, list[tuple[float, float]]] = {name: [] for name in options.kernels}
    for _ in range(options.launches):
        for name in options.kernels:
            launches[name].append(launch(name))
    for name, times in launches.items():
        note("launch to kernel_info_reply, ms", name, 1000 * statistics.median(t[0] for t in times))
        note("launch to first result, ms", name, 1000 * statistics.median(t[1] for t in times))

    kernels = {name: Kernel(name) for name in options.kernels}
    for name, kernel in kernels.items():
        kernel.run("1")
        time.sleep(1)
        alone, share = memory(kernel)
        note("idle memory of its own, MiB", name, alone)
        note("idle memory, proportional, MiB", name, share)
    trips: dict[str, list[float]] = {name: [] for name in kernels}
    for _ in range(50):
        for kernel in kernels.values():
            kernel.run("1+1")
    for _ in range(options.round_trips // 100):
        for name, kernel in kernels.items():
            trips[name] += [1000 * kernel.run("1+1") for _ in range(100)]
    lines = "for i in range(100_000): print(i)"
    size = sum(len(f"{i}\n") for i in range(100_000))
    floods = {name: [] for name in kernels}
    for _ in range(5):
        for name, kernel in kernels.items():
            floods[name].append(kernel.flood(lines))
    for name in kernels:
        note("1+1, median, ms", name, statistics.median(trips[name]))
        note("1+1, p99, ms", name, statistics.quantiles(trips[name], n=100)[98])
        note("100,000 lines, ms", name, 1000 * statistics.median(f[0] for f in floods[name]))
        note("of them arrived, %", name, 100 * statistics.mean(f[1] for f in floods[name]) / size)
    for name, kernel in kernels.items():
        for what, times in busy(kernel, name, 100).items():
            note(f"{what}, while busy, median ms", name, statistics.median(times))
            note(f"{what}, while busy, worst ms", name, max(times))
        kernel.stop()

    ours = options.kernels[0]
    print(f"{'':44}" + "".join(f"{n:>12}" for n in options.kernels) + "   ours / theirs")
    for what, values in rows.items():
        ratios = "  ".join(f"{values[ours] / values[n]:.2f}" for n in options.kernels[1:])
        print(
            f"{what:44}" + "".join(f"{values[n]:12.1f}" for n in options.kernels) + f"   {ratios}"
        )


if __name__ == "__main__":
    main()
