"""Messages of child processes for the front ends. A child has no thread that sends
them, so it hands them to the kernel's process in packets."""

from __future__ import annotations

import itertools
import json
import select
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable

from slaf.kernel.processes.inside_spawned_process import HEAD, PACKET, packets
from slaf.kernel.threads import KernelThread

_DESCRIPTOR = struct.Struct("i")
#: Space for one descriptor that is sent with a packet.
_ROOM = socket.CMSG_LEN(_DESCRIPTOR.size)
#: `socket.recv_fds` ignores its flags, so `recvmsg` is called.
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class ChildMessages:
    """Receives the messages of child processes.

    `publish` gets the texts and buffers of a message. `define` gets a name of the
    notebook that a child asks for, and a descriptor to which it writes the answer.
    """

    def __init__(
        self,
        publish: Callable[[list[str], list[bytes]], None],
        define: Callable[[str, int], None],
    ):
        self._publish, self._define = publish, define
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        #: Packets so far of each unfinished message, by child and number.
        self._unfinished: dict[tuple[int, int], list[bytes]] = defaultdict(list)
        self._lock = threading.Lock()
        KernelThread(self._listen, name="slaf-children").start()

    def send(self, texts: list[str], buffers: list[bytes]) -> None:
        """In a forked child: a message for the front ends."""
        for packet in packets(texts, buffers):
            self._theirs.send(packet)

    @property
    def descriptor(self) -> int:
        """The descriptor to which children send."""
        return self._theirs.fileno()

    def receive(self) -> None:
        """Publishes what children have sent so far."""
        with self._lock:
            while True:
                try:
                    packet, sent, *_ = self._ours.recvmsg(PACKET + HEAD.size, _ROOM, _FLAGS)
                except BlockingIOError:
                    return
                rights = [data for _, kind, data in sent if kind == socket.SCM_RIGHTS]
                self._take(packet, [_DESCRIPTOR.unpack(data)[0] for data in rights])

    def _take(self, packet: bytes, descriptors: list[int]) -> None:
        child, number, left = HEAD.unpack_from(packet)
        parts = self._unfinished[child, number]
        parts.append(packet[HEAD.size :])
        if left:
            return
        del self._unfinished[child, number]
        whole = b"".join(parts)
        (size,) = struct.unpack_from("<Q", whole)
        texts, lengths = json.loads(whole[8 : 8 + size])
        if descriptors:
            self._define(texts[0], descriptors[0])
            return
        ends = list(itertools.accumulate(lengths, initial=8 + size))
        self._publish(texts, [whole[a:b] for a, b in itertools.pairwise(ends)])

    def _listen(self) -> None:
        while True:
            select.select([self._ours], [], [])
            self.receive()
