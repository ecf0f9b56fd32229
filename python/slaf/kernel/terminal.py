"""`!command`: a command in a terminal of its own. What it asks, it asks of the
front end that sent the cell."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable

from slaf.kernel.aside import Aside
from slaf.kernel.interrupt import raise_in
from slaf.kernel.reading import Reading, hides, who_reads

#: Gives a prompt and whether what is typed is secret, gets a line.
Ask = Callable[[str, bool], str]

#: Seconds of silence after which an unfinished line is shown.
_SILENCE = 0.05
#: Between looks at a silent command; it becomes longer the longer it is silent.
_LOOK, _LOOK_AT_MOST = 0.03, 0.5
#: What a command may take to end after an interrupt.
_GRACE = 0.3
#: Takes the terminal for its own, which is its input, output and errors.
_IN_TERMINAL = 'exec <>"$0" >&0 2>&0; exec "$1" -c "$2"'


def run(command: str, ask: Ask | None) -> int:
    """Runs a shell's command, prints what it says, and gives its exit status, or
    minus the signal that ended it. Without `ask`, its input is at its end."""
    return _Command(command, ask).run()


class _Gone(BaseException):
    """Somebody was asked for input that the command does not want any more."""


class _Command:
    def __init__(self, command: str, ask: Ask | None):
        self._ask = ask
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        #: A line whose end has not come yet, perhaps a prompt.
        self._unfinished = ""
        #: What the terminal repeats of an answer.
        self._echo = b""
        #: Who has been answered, and may not have noticed yet.
        self._answered: Reading | None = None
        name = os.environ.get("SHELL", "sh")
        if (shell := shutil.which(name)) is None:
            raise OSError(f"The shell `{name}`, which SHELL names, was not found.")
        #: What the command has open here. Until it has the terminal, somebody must.
        self._fds: list[int] = []
        self._process: subprocess.Popen | None = None
        try:
            self._master, slave = pty.openpty()
            self._fds += self._master, slave
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            self._terminal = os.ttyname(slave)
            where, how = slave, [shell, "-c", command]
            if ask is not None:
                where = subprocess.DEVNULL
                how = ["/bin/sh", "-c", _IN_TERMINAL, self._terminal, shell, command]
            self._process = subprocess.Popen(
                how,
                stdin=subprocess.DEVNULL,
                stdout=where,
                stderr=where,
                start_new_session=True,
            )
            self._ended = _end_of(self._process.pid)
            self._fds += self._ended
        except BaseException:
            self._end()
            raise

    def run(self) -> int:
        try:
            try:
                self._follow()
            except KeyboardInterrupt as error:
                self._interrupt()
                # As IPython does it; but a time limit is over for the cell.
                if type(error) is not KeyboardInterrupt:
                    raise
        finally:
            self._end()
        # Shells say by 128 and more that a signal has ended their command.
        status = self._process.wait()
        return 128 - status if status > 128 else status

    def _follow(self) -> None:
        """Until the command ends."""
        silent, look = 0.0, _LOOK
        while True:
            if self._take(look):
                silent, look = 0.0, _LOOK
                continue
            if self._process.poll() is not None:
                # What it has said last.
                while self._take(0):
                    pass
                return
            silent, look = silent + look, min(look * 1.3, _LOOK_AT_MOST)
            if self._ask is not None and (reading := who_reads(self._master, self._terminal)):
                if reading != self._answered and (self._unfinished or reading.is_main):
                    self._answer(reading)
                    silent, look = 0.0, _LOOK
            elif silent >= _SILENCE:
                self._show("")

    def _take(self, seconds: float) -> bool:
        """Shows what the command says within some time; whether it said anything."""
        if self._master not in _ready([self._master, *self._ended], seconds):
            return False
        try:
            said = os.read(self._master, 1 << 16)
        except OSError:  # a terminal that everybody has left
            time.sleep(seconds)
            return False
        if self._echo:
            same = len(os.path.commonprefix([self._echo, said]))
            whole = same == min(len(self._echo), len(said))
            self._echo = self._echo[same:] if whole else b""
            said = said[same:] if whole else said
        text = self._unfinished + self._decoder.decode(said)
        shown, newline, self._unfinished = text.rpartition("\n")
        if len(self._unfinished) > 1000:
            shown, newline, self._unfinished = text, "", ""
        _print(shown + newline)
        return True

    def _show(self, more: str) -> None:
        text, self._unfinished = self._unfinished + more, ""
        _print(text)

    def _answer(self, reading: Reading) -> None:
        """Asks for a line, and types it."""
        prompt, self._unfinished = self._unfinished, ""
        modes = termios.tcgetattr(self._master)[3]
        try:
            line = self._while_it_reads(lambda: self._ask(prompt, hides(self._master)))
            typed = line.encode() + (b"\n" if modes & termios.ICANON else b"\r")
        except EOFError:
            typed = b"\x04"
        except _Gone:
            self._unfinished = prompt
            return
        self._answered = reading
        # What edits the line itself repeats it, too.
        if (modes & termios.ECHO or not modes & termios.ICANON) and typed != b"\x04":
            self._echo = typed[:-1] + b"\r\n"
        os.write(self._master, typed)

    def _while_it_reads(self, ask: Callable[[], str]) -> str:
        """What `ask` gives; raises _Gone if the command ends before, or does not
        wait any longer."""
        asking, lock, over = threading.get_ident(), threading.Lock(), False
        struck, (ear, bell) = False, os.pipe()

        def watch() -> None:
            nonlocal struck
            missed = 0
            while not over and missed < 2:
                if _ready([ear, *self._ended], _LOOK_AT_MOST / 2):
                    break
                missed = 0 if who_reads(self._master, self._terminal) else missed + 1
            with lock:
                if not over:
                    struck = True
                    raise_in(asking, _Gone)

        watcher = Aside(watch, name="slaf-asks")
        watcher.start()
        try:
            return ask()
        finally:
            with lock:
                over = True
            os.close(bell)
            watcher.join()
            os.close(ear)
            # It may strike a moment later.
            while struck and not isinstance(sys.exc_info()[1], _Gone):
                time.sleep(0)

    def _interrupt(self) -> None:
        """As Ctrl-C does it, and more if that is not enough."""
        # Further interrupts end this, and nothing else.
        with contextlib.suppress(KeyboardInterrupt):
            self._signal(signal.SIGINT)
            end = time.monotonic() + _GRACE
            while self._process.poll() is None and time.monotonic() < end:
                self._take(_LOOK)
            while self._take(0):
                pass
            self._show("")
            _print("^C\n")

    def _signal(self, number: int) -> None:
        groups = {self._process.pid}
        with contextlib.suppress(OSError):
            groups.add(os.tcgetpgrp(self._master))
        for group in groups - {0}:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)

    def _end(self) -> None:
        """Leaves nothing behind, also if an interrupt strikes meanwhile."""
        try:
            if self._process is not None and self._process.poll() is None:
                self._signal(signal.SIGHUP)
                self._signal(signal.SIGKILL)
                self._process.wait()
            self._show(self._decoder.decode(b"", True))
        finally:
            while self._fds:
                os.close(self._fds.pop())


def _end_of(process: int) -> list[int]:
    """A descriptor that is readable once the process has ended; none, where
    Linux is older than 5.3."""
    try:
        return [os.pidfd_open(process)]
    except OSError:
        return []


def _ready(fds: list[int], seconds: float) -> list[int]:
    """Those that can be read; `select` knows just the first 1024 of a process."""
    polled = select.poll()
    for fd in fds:
        polled.register(fd, select.POLLIN)
    return [fd for fd, _ in polled.poll(seconds * 1000)]


def _print(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
