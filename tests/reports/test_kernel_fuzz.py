"""Hostile and broken messages at all sockets of a running kernel. It stays alive, keeps
answering a good client, does not grow, and sends every signed request a reply and idle."""

from __future__ import annotations

import os
import socket

import psutil
import pytest
import zmq
from attackers import ROUND, Attackers
from kernels import GREETING, PATIENCE, Kernel, only, ready

MESSAGES = int(os.environ.get("SLAF_FUZZ_MESSAGES", "20000"))
SEED = int(os.environ.get("SLAF_FUZZ_SEED", "1"))


@pytest.mark.timeout(0 if MESSAGES > 20_000 else 900)
def test_hostile_messages(private_ipython, tmp_path):
    with open(tmp_path / "log", "w") as log:
        kernel = Kernel(log=log)
        attackers = Attackers(kernel, SEED)
        try:
            looks = besiege(kernel, attackers)
        finally:
            attackers.close()
            kernel.stop()
    # What IPython imports when it is first asked for is there by the half.
    warm = looks[len(looks) // 2 :]
    figures = {name: [look[name] for look in warm] for name in warm[0]}
    print(f"{MESSAGES} messages: {dict(attackers.count)}")
    for name, values in figures.items():
        print(f"{name}: {values[0]} at first, at most {max(values)}, {values[-1]} at last")
    assert figures["memory"][-1] - figures["memory"][0] < 12 << 20
    assert max(figures["threads"]) - min(figures["threads"]) <= 2
    # The sockets of who hangs on, a quarter of an hour at most, are open.
    assert figures["descriptors"][-1] - figures["descriptors"][0] <= 60


def besiege(kernel: Kernel, attackers: Attackers) -> list[dict[str, int]]:
    process, looks = psutil.Process(kernel.pid), []
    for sent in range(0, MESSAGES, ROUND):
        for _ in range(ROUND):
            attackers.attack()
        # In the middle of it, a good client, whose cells a failing one before them
        # may abort.
        reply, outputs = kernel.run(f"{sent} + 1")
        while reply["status"] == "aborted":
            reply, outputs = kernel.run(f"{sent} + 1")
        assert only(outputs, "execute_result")["data"]["text/plain"] == str(sent + 1)
        assert kernel.ask("kernel_info_request", {}, "control")["status"] == "ok"
        assert kernel.client.hb_channel.is_beating()
        attackers.wait()
        looks.append(
            {
                "memory": process.memory_info().rss,
                "threads": process.num_threads(),
                "descriptors": len(os.listdir(f"/proc/{kernel.pid}/fd")),
            }
        )
    return looks


@pytest.fixture(scope="module")
def kernel(logged):
    return logged


def connect(kernel: Kernel, channel: str) -> socket.socket:
    of = kernel.connection
    return socket.create_connection((of["ip"], of[f"{channel}_port"]), timeout=PATIENCE)


def pour(sock: socket.socket, said: bytes, most: int) -> int:
    """Sends it again and again and reads nothing, until nobody takes more or has
    hung up; gives how much was taken."""
    sock.settimeout(2)
    taken = 0
    try:
        while taken < most:
            taken += sock.send(said)
    except OSError:
        pass
    return taken


@pytest.mark.parametrize("channel", ["hb", "iopub"])
def test_who_does_not_read_is_not_listened_to(kernel, channel):
    """What is owed to a peer is bounded: echoes of heartbeats, welcomes of topics."""
    process = psutil.Process(kernel.pid)
    before = process.memory_info().rss
    said = {
        "hb": (b"\x02" + (1 << 16).to_bytes(8, "big") + bytes(1 << 16)) * 16,
        "iopub": b"\x00\x01\x01" * 10_000,
    }[channel]
    with connect(kernel, channel) as sock:
        sock.sendall(GREETING + ready(b"SUB" if channel == "iopub" else b"DEALER"))
        taken = pour(sock, said, 400 << 20)
        assert process.memory_info().rss - before < 150 << 20
        assert taken < 300 << 20
        assert kernel.value("1 + 1") == "2"
        assert kernel.client.hb_channel.is_beating()


def test_header_fields_of_any_type_are_echoed_and_answered(kernel):
    for odd in (None, 5, [], {"a": [1]}):
        fields = dict.fromkeys(("session", "username", "date", "version", "more"), odd)
        for request, channel in (("kernel_info_request", "shell"), ("usage_request", "control")):
            assert kernel.ask(request, {}, channel, **fields)["status"] == "ok"
        reply = kernel.ask("execute_request", {"code": "1"}, subshell_id=[odd])
        assert reply["ename"] == "NoSuchSubshell"


def test_the_log_is_not_filled_by_strangers(kernel):
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.sndhwm = 0
        stranger.connect(f"tcp://{kernel.connection['ip']}:{kernel.connection['shell_port']}")
        for _ in range(20_000):
            stranger.send_multipart([b"<IDS|MSG>", b"00", b"{}", b"{}", b"{}", b"{}"])
        # Until all have been looked at.
        stranger.send_multipart([b"<IDS|MSG>", b"the last"])
        while "with 1 of the 5 frames" not in kernel.log.read_text():
            assert kernel.value("1 + 1") == "2"
    refused = kernel.log.read_text().count("a wrong signature")
    assert 0 < refused < 5000


def test_usage_leaves_no_descriptors_open(fresh):
    def count() -> int:
        return len(os.listdir(f"/proc/{fresh.pid}/fd"))

    before = count()
    assert fresh.ask("usage_request", {}, "control")["status"] == "ok"
    assert count() - before <= 2


def test_connections_while_no_descriptor_is_left(kernel):
    """They are accepted once there are some again; nothing spins meanwhile."""
    kernel.run(
        "import os, resource, time\n"
        "limits = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, limits[1]))\n"
        "taken = []\n"
        "try:\n"
        "    while True: taken.append(os.dup(0))\n"
        "except OSError: pass"
    )
    with connect(kernel, "shell") as sock:
        code = "before = time.process_time(); time.sleep(1); time.process_time() - before"
        assert float(kernel.value(code)) < 0.2
        kernel.run(
            "for fd in taken: os.close(fd)\nresource.setrlimit(resource.RLIMIT_NOFILE, limits)"
        )
        assert sock.recv(64)[:1] == b"\xff"
    assert kernel.value("1 + 1") == "2"
