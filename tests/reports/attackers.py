"""Hostile peers of a kernel: a seed decides which broken messages they send to which
socket."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter

import zmq
from jupyter_client.session import Session
from kernels import GREETING, PATIENCE, Kernel, ready

#: Number of messages between two checks of the kernel, and maximum number of signed
#: requests without an answer.
ROUND, WINDOW = 500, 100

CODES = ["1", "x = 1", "print('y')", "1 / 0", "def", "%nosuch", "await nothing", "[1] * 9", "'"]
#: Requests of real front ends, and the types of their fields.
SHELL = {
    "execute_request": {
        "code": CODES,
        "silent": [False, True],
        "store_history": [False],
        "user_expressions": [{}, {"a": "1 + 1", "b": "nothing"}],
        "allow_stdin": [False],
        "stop_on_error": [False, True],
    },
    "complete_request": {"code": ["pri", "import o", "%", "x."], "cursor_pos": [0, 1, 3]},
    "inspect_request": {"code": ["print", "x", "(("], "cursor_pos": [0, 3], "detail_level": [0, 1]},
    "is_complete_request": {"code": CODES},
    "history_request": {
        "hist_access_type": ["tail", "range", "search"],
        "output": [False],
        "raw": [True],
        "n": [1, 3],
        "session": [0],
        "start": [0],
        "stop": [2],
        "pattern": ["*x*"],
        "unique": [False],
    },
    "comm_info_request": {"target_name": ["jupyter.widget", None]},
    "kernel_info_request": {},
    "connect_request": {},
    "comm_open": {"comm_id": ["a", "b"], "target_name": ["none"], "data": [{}]},
    "comm_msg": {"comm_id": ["a", "b"], "data": [{}]},
    "comm_close": {"comm_id": ["a", "b"], "data": [{}]},
    "no_such_request": {"x": [1]},
    "no_such_message": {"x": [1]},
    "_request": {},
    "handler": {},
    "größe_request": {},
}
CONTROL = {
    "kernel_info_request": {},
    "connect_request": {},
    "usage_request": {},
    "list_subshell_request": {},
    "delete_subshell_request": {"subshell_id": ["none"]},
    "debug_request": {"type": ["request"], "seq": [1], "command": ["nosuch", "debugInfo"]},
    "no_such_request": {},
    "comm_msg": {"comm_id": ["a"], "data": [{}]},
}
ODD = [None, True, 0, -1, 2**40, 2**90, 1.5, 1e300, "", "x", "größe 🙂", [], [[]], {}, {"": []}]
STATUSES = {"ok", "error", "aborted", "complete", "incomplete", "invalid", "unknown"}
#: Texts that are JSON, but that not every reader of JSON accepts.
RAW = [
    b"[" * 5000 + b"]" * 5000,
    b'{"code":' * 3000 + b"1" + b"}" * 3000,
    b"1" * 6000,
    b"-0.0e-0",
    b"1e999",
    b'"\\ud800"',
    b'{"code": "\\ud800 = 1"}',
    b'{"code": "1", "code": 2}',
    b' \n{"code": "1"}\t ',
    b'"' + b"x" * 200_000 + b'"',
]


class Attackers:
    """Peers of one kernel; a seed determines their messages."""

    def __init__(self, kernel: Kernel, seed: int):
        self.rng, self.of = random.Random(seed), kernel.connection
        self.session = Session(key=self.of["key"].encode())
        self.context = zmq.Context()
        # Each socket sends replies to the sender of the request.
        self.friends = {c: self.dealer(c) for c in ("shell", "control")}
        self.strangers = {c: self.dealer(c) for c in ("shell", "control", "stdin", "hb", "iopub")}
        self.iopub = self.context.socket(zmq.SUB)
        self.iopub.rcvhwm = 0
        self.iopub.subscribe(b"")
        self.iopub.connect(self.address("iopub"))
        assert self.iopub.poll(1000 * PATIENCE)
        #: Requests without a reply yet, and requests without an idle message yet.
        self.unanswered: dict[str, str] = {}
        self.busy: dict[str, str] = {}
        self.asked: dict[str, list[bytes]] = {}
        #: A request that has been answered: sending it again must be rejected.
        self.last: list[bytes] = [b"<IDS|MSG>", b"x"]
        self.hanging: list[socket.socket] = []
        self.count = Counter()

    def close(self) -> None:
        for sock in self.hanging:
            sock.close()
        self.context.destroy(linger=0)

    def address(self, channel: str) -> str:
        return f"tcp://{self.of['ip']}:{self.of[f'{channel}_port']}"

    def dealer(self, channel: str) -> zmq.Socket:
        # libzmq only connects matching socket types.
        sock = self.context.socket(zmq.XSUB if channel == "iopub" else zmq.DEALER)
        sock.sndhwm = sock.rcvhwm = 0
        sock.connect(self.address(channel))
        return sock

    def attack(self) -> None:
        kind = self.rng.choices(["signed", "forged", "raw"], [5, 4, 1])[0]
        self.count[kind] += 1
        getattr(self, kind)()

    # Requests that are signed ------------------------------------------------

    def signed(self) -> None:
        channel = self.rng.choices(["shell", "control"], [6, 1])[0]
        kind, header, parts = self.request(SHELL if channel == "shell" else CONTROL)
        buffers = [self.rng.randbytes(9) for _ in range(self.rng.choice([0, 0, 0, 3]))]
        frames = [b"<IDS|MSG>", self.session.sign(parts), *parts, *buffers]
        name = header["msg_id"]
        if kind.endswith("_request"):
            self.unanswered[name] = kind.replace("_request", "_reply")
        self.busy[name] = kind
        self.asked[name] = frames
        self.friends[channel].send_multipart(frames)
        if len(self.busy) >= WINDOW:
            self.wait(WINDOW // 2)

    def request(self, kinds: dict) -> tuple[str, dict, list[bytes]]:
        rng = self.rng
        kind = rng.choice([*kinds])
        header = self.session.msg_header(kind)
        content = {name: rng.choice(values) for name, values in kinds[kind].items()}
        metadata: object = {}
        what = rng.random()
        if what < 0.5 and content:
            content[rng.choice([*content])] = self.odd()
        elif what < 0.6 and content:
            del content[rng.choice([*content])]
        elif what < 0.65:
            content = self.odd()
        elif what < 0.75:
            metadata = rng.choice([self.odd(), {"cellId": self.odd(), "deletedCells": self.odd()}])
        elif what < 0.85:
            header[rng.choice(["session", "username", "date", "version", "more"])] = self.odd()
        elif what < 0.87:
            header["subshell_id"] = rng.choice([None, "none", ""])
        elif what < 0.88:
            header["msg_id"] += rng.choice(["\n", "🙂", '"', "\0"])
        parts = [json.dumps(p, default=str).encode() for p in (header, {}, metadata, content)]
        if rng.random() < 0.03:
            parts[rng.choice([1, 2, 3, 3])] = rng.choice(RAW)
        return kind, header, parts

    def odd(self):
        return self.rng.choice([*ODD, {"x": self.rng.choice(ODD)}, [self.rng.choice(ODD)] * 3])

    def wait(self, left: int = 0) -> None:
        """Receives answers until at most this many requests are unanswered."""
        poller = zmq.Poller()
        for sock in (*self.friends.values(), self.iopub):
            poller.register(sock, zmq.POLLIN)
        while len(self.busy) > left or len(self.unanswered) > left:
            ready = poller.poll(1000 * PATIENCE)
            waiting = [self.asked[name][2:6] for name in {*self.busy, *self.unanswered}][:3]
            assert ready, f"never answered: {[[p[:300] for p in w] for w in waiting]}"
            for sock, _ in ready:
                while sock.poll(0):
                    self.take(sock)

    def take(self, sock: zmq.Socket) -> None:
        frames = sock.recv_multipart()
        at = frames.index(b"<IDS|MSG>")
        parts = frames[at + 2 : at + 6]
        header, parent, _, content = (json.loads(p) for p in parts)
        assert frames[at + 1] == self.session.sign(parts)
        name = parent.get("msg_id")
        if sock is not self.iopub:
            asked = self.asked.get(name)
            assert header["msg_type"] == self.unanswered.pop(name, None), (parent, content, asked)
            # The debugger's own requests have no status messages.
            assert content.get("status", "ok") in STATUSES, (self.asked[name], content)
        elif content.get("execution_state") == "idle" and name in self.busy:
            del self.busy[name]
        if name not in self.busy and name not in self.unanswered:
            self.last = self.asked.pop(name, self.last)

    # Peers without the key --------------------------------------------------------

    def forged(self) -> None:
        """Frames of a real message with something wrong."""
        rng = self.rng
        channel = rng.choice([*self.strangers])
        frames = list(self.last)
        match rng.randrange(6):
            case 0:
                frames = frames[: rng.randrange(1, len(frames))]
            case 1:
                at = rng.randrange(len(frames))
                frames[at] = mutated(rng, frames[at])
            case 2:
                frames[1] = rng.choice([b"", b"zz", rng.randbytes(32), frames[1][:-2] + b"xx"])
            case 3:
                _, _, parts = self.request(SHELL)
                frames = [b"<IDS|MSG>", Session(key=b"guess").sign(parts), *parts]
            case 4:
                frames = [rng.randbytes(rng.randrange(60)) for _ in range(rng.randrange(1, 12))]
            case 5:
                pass  # Sends the same message again.
        self.strangers[channel].send_multipart(frames)
        if channel in ("hb", "iopub"):
            while self.strangers[channel].poll(0):
                self.strangers[channel].recv_multipart()

    def raw(self) -> None:
        """Bytes that are not ZeroMQ's protocol, or almost are."""
        rng = self.rng
        channel = rng.choice(["shell", "control", "stdin", "hb", "iopub"])
        said = rng.choice([b"", GREETING, GREETING + ready(b"DEALER"), GREETING + ready(b"SUB")])
        match rng.randrange(5):
            case 0:
                said += rng.randbytes(rng.choice([0, 1, 9, 64, 300, 5000]))
            case 1:
                said += b"\x02" + rng.choice([2**63, 2**40, 2**32, 2**31]).to_bytes(8, "big") + b"x"
            case 2:
                said += b"".join(frame(rng, f) for f in self.last)
            case 3:
                said = mutated(rng, said + b"".join(frame(rng, f) for f in self.last))
            case 4:
                said += b"".join(frame(rng, rng.randbytes(3)) for _ in range(rng.randrange(200)))
        address = self.of["ip"], self.of[f"{channel}_port"]
        sock = socket.create_connection(address, timeout=PATIENCE)
        try:
            sock.sendall(said)
        except OSError:
            pass
        # Some stay connected, and send nothing more.
        self.hanging.append(sock)
        if len(self.hanging) > 30:
            self.hanging.pop(rng.randrange(30)).close()


def frame(rng: random.Random, body: bytes) -> bytes:
    flags = rng.choice([0, 1, 1, 1, 4, 0x80])
    return bytes([flags | 2]) + len(body).to_bytes(8, "big") + body


def mutated(rng: random.Random, said: bytes) -> bytes:
    changed = bytearray(said)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(3):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                del changed[at : at + rng.randrange(1, 20)]
            case 2:
                changed[at:at] = rng.randbytes(rng.randrange(1, 20))
    return bytes(changed)
