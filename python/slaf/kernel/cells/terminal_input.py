"""Whether a process in a terminal waits for typed input, according to `/proc`."""

from __future__ import annotations

import contextlib
import os
import platform
import struct
import termios
from collections.abc import Iterator
from typing import NamedTuple

#: Numbers of the system calls that wait for input: read; select and pselect; poll and
#: ppoll with the argument that means no timeout.
_CALLS = {
    "x86_64": ({0}, {23, 270}, {7: 0xFFFFFFFF, 271: 0}),
    "aarch64": ({63}, {72}, {73: 0}),
}
_READ, _SELECT, _POLL = _CALLS.get(platform.machine(), (set(), set(), {}))


class WaitingThread(NamedTuple):
    """A thread that waits for input. It compares unequal once the thread has run again."""

    process: int
    thread: int
    #: Its context switches so far, as text of `/proc`.
    switches: bytes

    @property
    def is_main(self) -> bool:
        """Whether it is the main thread of its process."""
        return self.process == self.thread


def waiting_thread(master: int, terminal: str) -> WaitingThread | None:
    """The thread of a foreground process that waits for what is typed at the path
    `terminal`; `master` is the other end of it.

    A process that may not be inspected, such as sudo, counts as waiting if it has
    made the terminal hide what is typed."""
    try:
        group = os.tcgetpgrp(master)
    except OSError:
        return None
    for process in _processes(group):
        # A process may end at any time, or belong to another user.
        with contextlib.suppress(OSError, ValueError):
            for thread in map(int, os.listdir(f"/proc/{process}/task")):
                try:
                    waits = _waits(process, thread, terminal)
                except PermissionError:
                    waits = hides_typing(master)
                if waits:
                    return WaitingThread(process, thread, _switches(process, thread))
    return None


def hides_typing(master: int) -> bool:
    """Whether the terminal reads a line without showing it, such as a password."""
    modes = termios.tcgetattr(master)[3]
    return bool(modes & termios.ICANON) and not modes & termios.ECHO


def _processes(group: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                if os.getpgid(int(name)) == group:
                    yield int(name)


def _waits(process: int, thread: int, terminal: str) -> bool:
    call, *arguments = _file(f"/proc/{process}/task/{thread}/syscall").split()
    if not arguments:  # "running"
        return False
    number, (first, second, third, _, fifth, *_) = int(call), (int(a, 16) for a in arguments)
    if number in _READ:
        fd = first
    elif number in _SELECT and (first, fifth) == (1, 0):
        # Only descriptor 0 is watched, without a timeout.
        fd = 0
    elif number in _POLL and second == 1 and third & 0xFFFFFFFF == _POLL[number]:
        with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
            memory.seek(first)
            fd = struct.unpack("<i", memory.read(4))[0]
    else:
        return False
    return os.readlink(f"/proc/{process}/fd/{fd}") in (terminal, "/dev/tty")


def _switches(process: int, thread: int) -> bytes:
    """The lines of `/proc` that change when the thread runs."""
    lines = _file(f"/proc/{process}/task/{thread}/status").splitlines()
    return b" ".join(line for line in lines if b"ctxt_switches" in line)


def _file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
