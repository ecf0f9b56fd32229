"""What forked children display: they have none of the threads that send, so it
goes to the kernel's process in packets."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable

#: Bytes of a packet, which its socket takes as a whole.
_PACKET = 48 << 10
#: Child, number of the message, packets that follow.
_HEAD = struct.Struct("<IIQ")


class Children:
    """Takes messages of forked children and gives them to `publish`."""

    def __init__(self, publish: Callable[[list[str], list[bytes]], None]):
        self._publish = publish
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._counter = itertools.count()
        self._begun: dict[tuple[int, int], list[bytes]] = defaultdict(list)
        self._lock = threading.Lock()
        listener = threading.Thread(target=self._listen, name="slaf-children", daemon=True)
        # The debugger stops all others.
        listener.pydev_do_not_trace = listener.is_pydev_daemon_thread = True
        listener.start()

    def send(self, texts: list[str], buffers: list[bytes]) -> None:
        """In a child: a message for the front ends."""
        head = json.dumps([texts, [len(b) for b in buffers]]).encode()
        whole = b"".join([struct.pack("<Q", len(head)), head, *buffers])
        number, count = next(self._counter), -(-len(whole) // _PACKET)
        for at in range(count):
            part = whole[at * _PACKET : (at + 1) * _PACKET]
            self._theirs.send(_HEAD.pack(os.getpid(), number, count - at - 1) + part)

    def catch_up(self) -> None:
        """Publishes what has been sent so far."""
        with self._lock:
            while True:
                try:
                    packet = self._ours.recv(_PACKET + _HEAD.size, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return
                self._take(packet)

    def _take(self, packet: bytes) -> None:
        child, number, left = _HEAD.unpack_from(packet)
        parts = self._begun[child, number]
        parts.append(packet[_HEAD.size :])
        if left:
            return
        del self._begun[child, number]
        whole = b"".join(parts)
        (size,) = struct.unpack_from("<Q", whole)
        texts, lengths = json.loads(whole[8 : 8 + size])
        ends = list(itertools.accumulate(lengths, initial=8 + size))
        self._publish(texts, [whole[a:b] for a, b in itertools.pairwise(ends)])

    def _listen(self) -> None:
        while True:
            select.select([self._ours], [], [])
            self.catch_up()
