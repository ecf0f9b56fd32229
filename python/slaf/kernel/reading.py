"""Whether one of a terminal's processes waits for what is typed there, as Linux
tells it in `/proc`."""

from __future__ import annotations

import contextlib
import os
import platform
import struct
import termios
from collections.abc import Iterator
from typing import NamedTuple

#: System calls that wait for input: read; select and pselect; poll and ppoll, with
#: what they are given to wait as long as it takes.
_CALLS = {
    "x86_64": ({0}, {23, 270}, {7: 0xFFFFFFFF, 271: 0}),
    "aarch64": ({63}, {72}, {73: 0}),
}
_READ, _SELECT, _POLL = _CALLS.get(platform.machine(), (set(), set(), {}))


class Reading(NamedTuple):
    """A thread that waits for input. It is another one once it has run again."""

    process: int
    thread: int
    switches: bytes

    @property
    def is_main(self) -> bool:
        return self.process == self.thread


def who_reads(master: int, terminal: str) -> Reading | None:
    """Who among the processes in the foreground waits for what is typed at the
    `terminal` that `master` leads to. One that may not be looked into, as sudo,
    waits if it has the terminal hide what is typed."""
    try:
        group = os.tcgetpgrp(master)
    except OSError:
        return None
    for process in _processes(group):
        # A process may end meanwhile, or be another user's.
        with contextlib.suppress(OSError, ValueError):
            for thread in map(int, os.listdir(f"/proc/{process}/task")):
                try:
                    waits = _waits(process, thread, terminal)
                except PermissionError:
                    waits = hides(master)
                if waits:
                    return Reading(process, thread, _switches(process, thread))
    return None


def hides(master: int) -> bool:
    """Whether a line is typed there that nobody is to see."""
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
        # Of the first descriptor alone, as long as it takes.
        fd = 0
    elif number in _POLL and second == 1 and third & 0xFFFFFFFF == _POLL[number]:
        with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
            memory.seek(first)
            fd = struct.unpack("<i", memory.read(4))[0]
    else:
        return False
    return os.readlink(f"/proc/{process}/fd/{fd}") in (terminal, "/dev/tty")


def _switches(process: int, thread: int) -> bytes:
    """How often it has run, as far as one can tell."""
    lines = _file(f"/proc/{process}/task/{thread}/status").splitlines()
    return b" ".join(line for line in lines if b"ctxt_switches" in line)


def _file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
