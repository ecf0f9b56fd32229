"""`!command`: runs a shell command in a terminal of its own. The front end that sent
the cell is asked for the input that the command waits for."""

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

from slaf.kernel.cells.terminal_input import WaitingThread, hides_typing, waiting_thread
from slaf.kernel.threads import KernelThread, raise_in

#: Asks for a line; takes the prompt, and whether the typed text is secret.
Ask = Callable[[str, bool], str]

#: Seconds of silence after which an unfinished line is shown.
_SILENCE = 0.05
#: Seconds between two looks at a command: at first, and when it is silent for long.
_LOOK, _LONGEST_LOOK = 0.03, 0.5
#: Seconds that a command may take to end after an interrupt.
_GRACE = 0.3
#: Makes the terminal `$0` the controlling one, and its stdin, stdout and stderr.
_IN_TERMINAL = 'exec <>"$0" >&0 2>&0; exec "$1" -c "$2"'


def run(command: str, ask: Ask | None) -> int:
    """Runs a shell command and prints its output. Returns its exit status, or minus the
    number of the signal that ended it. Without `ask`, its stdin is empty."""
    return _Command(command, ask).run()


class _NoInputWanted(BaseException):
    """Raised while the user is asked: the command does not wait for input any more."""


class _Command:
    def __init__(self, command: str, ask: Ask | None):
        self._ask = ask
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        #: Output after the last newline, perhaps a prompt.
        self._unfinished = ""
        #: The typed answer, which the terminal echoes; the echo is not shown again.
        self._echo = b""
        #: The thread that was answered last; it may not have run since.
        self._answered: WaitingThread | None = None
        name = os.environ.get("SHELL", "sh")
        if (shell := shutil.which(name)) is None:
            raise OSError(f"The shell `{name}`, which SHELL names, was not found.")
        #: Descriptors to close at the end. One is the command's end of the terminal,
        #: which must stay open until the command has opened it.
        self._fds: list[int] = []
        self._process: subprocess.Popen | None = None
        try:
            self._master, slave = pty.openpty()
            self._fds += self._master, slave
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            self._terminal = os.ttyname(slave)
            output, arguments = slave, [shell, "-c", command]
            if ask is not None:
                output = subprocess.DEVNULL
                arguments = ["/bin/sh", "-c", _IN_TERMINAL, self._terminal, shell, command]
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            self._ended = _process_descriptor(self._process.pid)
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
                # The cell goes on, as in IPython. After a CellTimeout it does not.
                if type(error) is not KeyboardInterrupt:
                    raise
        finally:
            self._end()
        # A status above 128 means that a signal ended the command.
        status = self._process.wait()
        return 128 - status if status > 128 else status

    def _follow(self) -> None:
        """Shows output and answers questions until the command ends."""
        silent, look = 0.0, _LOOK
        while True:
            if self._take(look):
                silent, look = 0.0, _LOOK
                continue
            if self._process.poll() is not None:
                while self._take(0):  # the last output
                    pass
                return
            silent, look = silent + look, min(look * 1.3, _LONGEST_LOOK)
            ask = self._ask
            if ask and (waiting := waiting_thread(self._master, self._terminal)):
                if waiting != self._answered and (self._unfinished or waiting.is_main):
                    self._answer(waiting, ask)
                    silent, look = 0.0, _LOOK
            elif silent >= _SILENCE:
                self._show("")

    def _take(self, seconds: float) -> bool:
        """Shows the output that arrives within `seconds`; returns whether there was
        any."""
        if self._master not in _readable([self._master, *self._ended], seconds):
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # no process has the terminal open any more
            time.sleep(seconds)
            return False
        if self._echo:
            same = len(os.path.commonprefix([self._echo, data]))
            is_echo = same == min(len(self._echo), len(data))
            self._echo = self._echo[same:] if is_echo else b""
            data = data[same:] if is_echo else data
        text = self._unfinished + self._decoder.decode(data)
        shown, newline, self._unfinished = text.rpartition("\n")
        if len(self._unfinished) > 1000:
            shown, newline, self._unfinished = text, "", ""
        _print(shown + newline)
        return True

    def _show(self, more: str) -> None:
        text, self._unfinished = self._unfinished + more, ""
        _print(text)

    def _answer(self, waiting: WaitingThread, ask: Ask) -> None:
        """Asks the user for a line, and types it into the terminal."""
        prompt, self._unfinished = self._unfinished, ""
        modes = termios.tcgetattr(self._master)[3]
        try:
            line = self._while_it_waits(lambda: ask(prompt, hides_typing(self._master)))
            typed = line.encode() + (b"\n" if modes & termios.ICANON else b"\r")
        except EOFError:
            typed = b"\x04"
        except _NoInputWanted:
            self._unfinished = prompt
            return
        self._answered = waiting
        # A program that edits the line itself (not ICANON) repeats it, too.
        if (modes & termios.ECHO or not modes & termios.ICANON) and typed != b"\x04":
            self._echo = typed[:-1] + b"\r\n"
        os.write(self._master, typed)

    def _while_it_waits(self, ask: Callable[[], str]) -> str:
        """The result of `ask()`. Raises _NoInputWanted if the command ends meanwhile or
        does not wait for input any more."""
        asking, lock, over = threading.get_ident(), threading.Lock(), False
        raised = False
        # Closing the one makes the other readable, which ends the watch.
        read_end, write_end = os.pipe()

        def watch() -> None:
            nonlocal raised
            looks_in_vain = 0
            while not over and looks_in_vain < 2:
                if _readable([read_end, *self._ended], _LONGEST_LOOK / 2):
                    break
                waits = waiting_thread(self._master, self._terminal)
                looks_in_vain = 0 if waits else looks_in_vain + 1
            with lock:
                if not over:
                    raised = True
                    raise_in(asking, _NoInputWanted)

        watcher = KernelThread(watch, name="slaf-asks")
        watcher.start()
        try:
            return ask()
        finally:
            with lock:
                over = True
            os.close(write_end)
            watcher.join()
            os.close(read_end)
            # The error comes once this thread runs Python code: wait for it here.
            while raised and not isinstance(sys.exc_info()[1], _NoInputWanted):
                time.sleep(0)

    def _interrupt(self) -> None:
        """As Ctrl-C does. `run` kills the command if that is not enough."""
        # A further interrupt only ends the wait.
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
        """Kills what still runs and closes all descriptors, even if interrupted."""
        try:
            if self._process is not None and self._process.poll() is None:
                self._signal(signal.SIGHUP)
                self._signal(signal.SIGKILL)
                self._process.wait()
            self._show(self._decoder.decode(b"", True))
        finally:
            while self._fds:
                os.close(self._fds.pop())


def _process_descriptor(process: int) -> list[int]:
    """A descriptor that is readable once the process has ended; none on a Linux
    older than 5.3."""
    try:
        return [os.pidfd_open(process)]
    except OSError:
        return []


def _readable(fds: list[int], seconds: float) -> list[int]:
    """The descriptors that can be read. (`select` fails on descriptors above 1023.)"""
    polled = select.poll()
    for fd in fds:
        polled.register(fd, select.POLLIN)
    return [fd for fd, _ in polled.poll(seconds * 1000)]


def _print(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
