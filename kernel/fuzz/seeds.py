"""Writes the fuzzer's first inputs: messages of real clients, as they are sent."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

HERE = Path(__file__).parent / "corpus"
SESSION = Session(key=b"key", username="user")
REQUESTS = {
    "execute_request": {"code": "1 + 1", "silent": False, "user_expressions": {}},
    "complete_request": {"code": "pri", "cursor_pos": 3},
    "inspect_request": {"code": "print", "cursor_pos": 5, "detail_level": 0},
    "history_request": {"hist_access_type": "tail", "n": 3},
    "is_complete_request": {"code": "for x in y:"},
    "comm_open": {"comm_id": "c", "target_name": "jupyter.widget", "data": {}},
    "comm_info_request": {},
    "kernel_info_request": {},
    "interrupt_request": {},
    "shutdown_request": {"restart": True},
    "input_reply": {"value": "größe 🙂"},
    "debug_request": {"type": "request", "seq": 1, "command": "initialize"},
}


def main() -> None:
    for kind, content in REQUESTS.items():
        message = SESSION.msg(kind, content)
        message["header"]["subshell_id"] = None if kind == "comm_open" else "one"
        frames = SESSION.serialize(message)
        said = recorded(zmq.DEALER, frames)
        put("zmtp", kind, b"\0\x06" + said)
        put("zmtp", f"{kind}_ungreeted", b"\x01\x02" + said[said.index(b"<IDS|MSG>") - 2 :])
        parts = [b"identity", *frames[2:], b"a buffer"]
        put("message", kind, b"\0" + b"".join(bytes([len(p)]) + p for p in parts))
        signed = [b"identity", *frames]
        put("message", f"{kind}_signed", b"\x06" + b"".join(bytes([len(p)]) + p for p in signed))
    for topic in (b"", b"stream", b"execute_result"):
        said = recorded(zmq.SUB, topic)
        put("zmtp", f"sub_{topic.decode()}", b"\0\x06" + said)
        wish = bytes([len(topic) + 1, 1]) + topic
        # No flags; subscribes, and takes it back.
        put(
            "subscriptions",
            topic.decode() or "all",
            b"\0" + wish + b"\0" + wish[:1] + b"\0" + topic,
        )
    put("subscriptions", "others", b"\x04\x0a\x09SUBSCRIBE\x01\x01a\x01\x01\x02\x00\x03\x01ab")
    whole = b"\0\0\0\0\0"
    put("curve", "handshake", whole)
    put("curve", "messages", whole + b"\0\x01\x02id\0" + b"\0\0\x05hello\0" + b"\x40\x04\x04PING\0")
    put("curve", "identity", b"\0\0\x10\x08identity\0\0\0\x03abc\0\0" + b"\0\0\x01x\0")
    put("curve", "spoiled_hello", b"\0\x01\x60\x01" + whole)
    put("curve", "cut_initiate", b"\0\0\0\0\x0a\x40")
    put("curve", "other_message", whole + b"\0\0\x03abc\x14\x12" + b"\x07MESSAGE" + bytes(11))
    for options in ({}, {"transport": "ipc", "ip": "/tmp/kernel"}, {"ip": "0.0.0.0"}):
        path, said = write_connection_file(key=b"key", kernel_name="slaf", **options)
        Path(path).unlink()
        put("connection", "_".join(options) or "plain", json.dumps(said).encode())
    put("connection", "everywhere", json.dumps(said | {"ip": "*"}).encode())
    public, secret = zmq.curve_keypair()
    keys = {"curve_publickey": public.decode(), "curve_secretkey": secret.decode()}
    put("connection", "curve", json.dumps(said | keys).encode())
    put("connection", "no_curve", json.dumps(said | {"curve_secretkey": None}).encode())
    put("connection", "no_key", json.dumps(said | {"key": "", "signature_scheme": ""}).encode())
    for name, text in {
        "ascii": "plain\n",
        "wide": "größe 🙂 細胞",
        "cells": "\x1b[31mred\r50%",
    }.items():
        for size in (1, 2, 5):
            said = text.encode()
            pieces = [said[at : at + size] for at in range(0, len(said), size)]
            put("output", f"{name}_{size}", b"".join(bytes([len(p)]) + p for p in pieces))


def recorded(kind: int, what: list[bytes] | bytes) -> bytes:
    """All that libzmq says to send frames, or to subscribe."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    theirs = b"SUB" if kind == zmq.SUB else b"DEALER"
    ours = b"XPUB" if kind == zmq.SUB else b"ROUTER"
    ready = b"\x05READY\x0bSocket-Type" + len(ours).to_bytes(4, "big") + ours
    said = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server, zmq.Context() as context:

        def listen() -> None:
            near, _ = server.accept()
            with near:
                near.sendall(greeting + bytes([4, len(ready)]) + ready)
                while data := near.recv(1 << 16):
                    said.extend(data)

        listener = threading.Thread(target=listen)
        listener.start()
        with context.socket(kind) as client:
            client.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
            if kind == zmq.SUB:
                client.subscribe(what)
                client.poll(100)
            else:
                client.identity = b"a name"
                client.send_multipart(what)
        context.term()
        listener.join()
    assert theirs in said
    return bytes(said)


def put(target: str, name: str, seed: bytes) -> None:
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(seed)


if __name__ == "__main__":
    main()
