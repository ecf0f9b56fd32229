"""What child processes display: they have none of the threads that send, so it
goes to the kernel's process in packets."""

from __future__ import annotations

import itertools
import json
import select
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable

from slaf.kernel.aside import Aside
from slaf.kernel.worker import HEAD, PACKET, packets

#: A descriptor, and the room for one.
_FD = struct.Struct("i")
_ONE = socket.CMSG_LEN(_FD.size)
#: `socket.recv_fds` forgets its flags.
_HOW = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class Children:
    """Takes messages of child processes and gives them to `publish`; names that
    they ask for, to `define`, with a descriptor for the answer."""

    def __init__(
        self,
        publish: Callable[[list[str], list[bytes]], None],
        define: Callable[[str, int], None],
    ):
        self._publish, self._define = publish, define
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._begun: dict[tuple[int, int], list[bytes]] = defaultdict(list)
        self._lock = threading.Lock()
        Aside(self._listen, name="slaf-children").start()

    def send(self, texts: list[str], buffers: list[bytes]) -> None:
        """In a forked child: a message for the front ends."""
        for packet in packets(texts, buffers):
            self._theirs.send(packet)

    @property
    def wire(self) -> int:
        """The descriptor to which children send."""
        return self._theirs.fileno()

    def catch_up(self) -> None:
        """Publishes what has been sent so far."""
        with self._lock:
            while True:
                try:
                    packet, sent, *_ = self._ours.recvmsg(PACKET + HEAD.size, _ONE, _HOW)
                except BlockingIOError:
                    return
                self._take(
                    packet,
                    [_FD.unpack(data)[0] for _, kind, data in sent if kind == socket.SCM_RIGHTS],
                )

    def _take(self, packet: bytes, sent: list[int]) -> None:
        child, number, left = HEAD.unpack_from(packet)
        parts = self._begun[child, number]
        parts.append(packet[HEAD.size :])
        if left:
            return
        del self._begun[child, number]
        whole = b"".join(parts)
        (size,) = struct.unpack_from("<Q", whole)
        texts, lengths = json.loads(whole[8 : 8 + size])
        if sent:
            self._define(texts[0], sent[0])
            return
        ends = list(itertools.accumulate(lengths, initial=8 + size))
        self._publish(texts, [whole[a:b] for a, b in itertools.pairwise(ends)])

    def _listen(self) -> None:
        while True:
            select.select([self._ours], [], [])
            self.catch_up()
