"""TCP encrypted with CURVE: jupyter_client has the keys, and nobody else gets in."""

from __future__ import annotations

import json
import socket
import threading

import pytest
import zmq
from kernels import PATIENCE, Kernel, only, stream


@pytest.fixture(scope="module")
def kernel(private_ipython):
    kernel = Kernel(transport_encryption="required")
    yield kernel
    kernel.stop()


def test_a_conversation(kernel):
    assert kernel.connection["transport"] == "tcp"
    assert len(kernel.connection["curve_publickey"]) == 40
    assert kernel.value("1 + 1") == "2"
    assert kernel.text("for i in range(20_000): print(i)").count("\n") == 20_000
    assert kernel.client.hb_channel.is_beating()
    assert kernel.ask("kernel_info_request", {}, "control")["status"] == "ok"
    request = kernel.send("print(input('name? '))", allow_stdin=True)
    assert kernel.question()["prompt"] == "name? "
    kernel.client.input("slaf")
    assert stream(kernel.outputs(request)) == "slaf\n"


def test_large_displays_and_buffers(kernel):
    _, outputs = kernel.run("from IPython.display import HTML\nHTML('x' * 10_000_000)")
    assert len(only(outputs, "execute_result")["data"]["text/html"]) == 10_000_000
    _, outputs = kernel.run(
        "from comm import create_comm\n"
        "_ = create_comm('nobody', data={}, buffers=[b'', bytes(range(256)) * 4096])"
    )
    (opened,) = (m for m in outputs if m["msg_type"] == "comm_open")
    assert [bytes(b) for b in opened["buffers"]] == [b"", bytes(range(256)) * 4096]


def test_a_second_client_and_a_restart(kernel):
    other = kernel.another_client()
    request = other.execute("2 + 2")
    assert other.get_shell_msg(timeout=PATIENCE)["parent_header"]["msg_id"] == request
    other.stop_channels()
    kernel.client.stop_channels()
    kernel.manager.restart_kernel(now=True)
    kernel.connect()
    assert kernel.value("3 + 3") == "6"


@pytest.mark.parametrize("channel", ["shell", "control", "stdin", "iopub", "hb"])
@pytest.mark.parametrize("keys", ["none", "others"])
def test_nobody_else_gets_in(kernel, channel, keys):
    of = kernel.connection
    kind = {"iopub": zmq.SUB, "hb": zmq.REQ}.get(channel, zmq.DEALER)
    with zmq.Context() as context, context.socket(kind) as stranger:
        stranger.linger = 0
        if keys == "others":
            stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
            stranger.curve_serverkey = zmq.curve_keypair()[0]
        if channel == "iopub":
            stranger.subscribe(b"")
        stranger.connect(f"tcp://{of['ip']}:{of[f'{channel}_port']}")
        if channel == "hb":
            stranger.send(b"beat")
        elif channel != "iopub":
            session = kernel.client.session
            session.send(stranger, "kernel_info_request", {})
        kernel.run("print('not for strangers')")
        assert stranger.poll(500) == 0


def test_the_wire_tells_nothing(kernel):
    of = kernel.connection
    seen = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def forward():
            near, _ = server.accept()
            far = socket.create_connection((of["ip"], of["iopub_port"]))

            def pass_on(source, target):
                while data := source.recv(1 << 16):
                    seen.extend(data)
                    target.sendall(data)

            for pair in ((near, far), (far, near)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

        threading.Thread(target=forward, daemon=True).start()
        with zmq.Context() as context, context.socket(zmq.SUB) as friend:
            friend.linger = 0
            friend.curve_publickey, friend.curve_secretkey = zmq.curve_keypair()
            friend.curve_serverkey = of["curve_publickey"].encode()
            friend.subscribe(b"")
            friend.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
            assert friend.poll(1000 * PATIENCE)
            kernel.run("print('a secret ' * 3)")
            told = b""
            while b"a secret a secret" not in told:
                assert friend.poll(1000 * PATIENCE)
                told = b"".join(friend.recv_multipart())
    assert len(seen) > len(told) and b"secret" not in seen and b"stream" not in seen


def test_a_wrong_key_is_one_sentence(tmp_path, capfd):
    from slaf import _slaf

    ports = {f"{name}_port": 0 for name in ("shell", "iopub", "stdin", "control", "hb")}
    path = tmp_path / "connection.json"
    told = {"transport": "tcp", "ip": "127.0.0.1", "key": "", "curve_secretkey": "short", **ports}
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="is not valid: `curve_secretkey` is not a key of 40"):
        _slaf.Kernel(str(path), "{}")
