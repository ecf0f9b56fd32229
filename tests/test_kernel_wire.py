"""Whatever reaches the sockets, the kernel stays alive, logs it, and answers proper
requests."""

from __future__ import annotations

import random
import socket

import pytest
from jupyter_client.session import Session
from kernels import GREETING, PATIENCE, ready


@pytest.fixture(scope="module")
def kernel(logged):
    return logged


def port(kernel, channel: str) -> tuple[str, int]:
    return kernel.connection["ip"], kernel.connection[f"{channel}_port"]


@pytest.mark.parametrize("channel", ["shell", "control", "stdin", "iopub", "hb"])
def test_garbage_at_every_socket(kernel, channel):
    rng = random.Random(channel)
    kind = {"iopub": b"SUB", "hb": b"REQ"}.get(channel, b"DEALER")
    openings = [b"", GREETING, GREETING + ready(kind), GREETING + ready(b"NONSENSE")]
    for _ in range(60):
        garbage = rng.choice(openings) + rng.randbytes(rng.choice([0, 1, 9, 64, 300, 5000]))
        with socket.create_connection(port(kernel, channel), timeout=PATIENCE) as sock:
            try:
                sock.sendall(garbage)
            except OSError:
                pass
    assert kernel.value("1 + 1") == "2"
    assert kernel.client.hb_channel.is_beating()


def test_frames_that_claim_to_be_huge(kernel):
    for channel in ("shell", "iopub"):
        kind = b"SUB" if channel == "iopub" else b"DEALER"
        with socket.create_connection(port(kernel, channel), timeout=PATIENCE) as sock:
            sock.sendall(GREETING + ready(kind) + b"\x02" + (2**62).to_bytes(8, "big") + b"x" * 100)
    assert kernel.value("1 + 1") == "2"


def test_malformed_and_forged_messages_are_refused_and_logged(kernel):
    rng = random.Random(1)
    session = kernel.client.session
    message = session.msg("execute_request", {"code": "forged = 1"})
    good = session.serialize(message)
    stranger = Session(key=b"guess").serialize(message)
    wrong = [
        [],
        [b""],
        [b"<IDS|MSG>"],
        good[:3],
        stranger,
        good[:-1] + [b"{"],
        good[:1] + [b"zz"] + good[2:],
        [b"\xff\xfe"] * 9,
    ]
    for _ in range(100):
        frames = list(good)
        at = rng.randrange(len(frames))
        frames[at] = rng.randbytes(rng.randrange(40))
        wrong.append(frames)
    channel = kernel.client.shell_channel.socket
    for frames in wrong:
        if frames:
            channel.send_multipart(frames)
    assert kernel.value("'forged' in globals()") == "False"
    told = kernel.log.read_text()
    assert "refused a message with a wrong signature" in told
    assert "refused a message without a delimiter" in told


def test_a_replay_is_refused(kernel):
    session = kernel.client.session
    kernel.run("count = 0")
    frames = session.serialize(session.msg("execute_request", {"code": "count += 1"}))
    for _ in range(3):
        kernel.client.shell_channel.socket.send_multipart(frames)
    assert kernel.value("count") == "1"
    assert "refused a message received twice" in kernel.log.read_text()


def test_requests_with_wrong_content_are_answered(kernel):
    for msg_type, content in [
        ("execute_request", {}),
        ("execute_request", {"code": 5}),
        ("complete_request", {"code": "x", "cursor_pos": "y"}),
        ("inspect_request", {}),
        ("is_complete_request", {}),
        ("history_request", {"hist_access_type": "nonsense"}),
        ("no_such_request", {}),
    ]:
        reply = kernel.ask(msg_type, content)
        if msg_type != "history_request":
            assert reply["status"] == "error" and reply["ename"], (msg_type, reply)
    for msg_type in ("comm_msg", "comm_open", "comm_close", "no_such_message"):
        kernel.outputs(kernel.request(msg_type, {"comm_id": "none"}))
    assert kernel.value("1 + 1") == "2"
