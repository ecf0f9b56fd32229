"""The process that compiles and runs Rust cells: requests to it, their answers, its
output, and the questions of cells."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from slaf.ground.progress import job
from slaf.rust_cells.environment import Surroundings, binary, own_variables
from slaf.rust_cells.errors import RustError
from slaf.rust_cells.held_interrupts import HeldInterrupts
from slaf.rust_cells.output import CompileProgress, PrintedText

#: Takes a question of a cell and its descriptors. Returns the answer, its descriptors,
#: and an object that must live until these are sent.
AnswerCell = Callable[[str, list[int]], tuple[str, list[int], Any]]

#: Milliseconds between two checks for an interrupt.
_TICK = 100
#: Seconds that the process has to end by itself.
_GRACE = 3.0
#: Most descriptors in one message.
_MOST_FDS = 250


class CellProcess:
    """One process with the state of the cells. It ends with this process."""

    def __init__(self, answer_cell: AnswerCell):
        self._answer_cell = answer_cell
        #: The folder and variables that the process knows.
        self._surroundings = Surroundings.now()
        #: The number of the latest request.
        self._number = 0
        self._ready = False
        #: The end of what the process itself has printed.
        self._log = ""
        #: The beginning of an answer that has not yet arrived completely.
        self._unfinished = b""
        #: Requests and answers go through `control`. Cells ask through `door`.
        self._control, control = socket.socketpair()
        self._door, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pipes = {name: os.pipe() for name in ("stdout", "stderr", "progress", "log")}
        self._pipes = {name: read for name, (read, _) in pipes.items()}
        inherited = {name: write for name, (_, write) in pipes.items() if name != "log"}
        inherited |= {"control": control.fileno(), "door": door.fileno()}
        variables = self._surroundings.variables | own_variables()
        variables |= {f"SLAF_CELL_{name.upper()}": str(fd) for name, fd in inherited.items()}
        try:
            self._process = subprocess.Popen(
                [binary()],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=pipes["log"][1],
                stderr=pipes["log"][1],
                pass_fds=list(inherited.values()),
                # In its own process group, Ctrl-C in a terminal does not end it.
                start_new_session=True,
            )
        finally:
            control.close()
            door.close()
            for _, write in pipes.values():
                os.close(write)
        for read in self._pipes.values():
            os.set_blocking(read, False)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether cells can run now. Does not wait."""
        if not self._ready:
            answer = self._receive(0, PrintedText(), None, timeout=0)
            self._ready = answer is not None and answer["status"] == "ok"
        return self._ready

    def start(self) -> dict[str, Any]:
        """Waits until cells can run. Returns `{"status": "ok"}`, or why they cannot."""
        with job("Rust starts") as starting, CompileProgress() as progress:
            starting.note = "the first time, it compiles what cells share data by"
            answer = self._wait(0, PrintedText(), progress)
        self._ready = answer["status"] == "ok"
        return answer

    def run(self, code: str) -> dict[str, Any]:
        """Runs a cell, in this process's folder and environment. Returns the answer."""
        before, self._surroundings = self._surroundings, Surroundings.now()
        return self.request("run", code=code, change=self._surroundings.changes_since(before))

    def request(self, op: str, *, timeout: float | None = None, **content: Any) -> dict[str, Any]:
        """The answer to a request, with `stderr`, the end of what it printed there.
        After `timeout` seconds it is `{"status": "late"}`."""
        self._number += 1
        self._send(op=op, id=self._number, **content)
        with closing(PrintedText()) as printed, CompileProgress() as progress:
            answer = self._wait(self._number, printed, progress, timeout)
        return answer | {"stderr": printed.end_of_stderr}

    def kill(self) -> None:
        """Ends the process and all that it started."""
        # The process ends when the socket closes, and removes its files.
        self._control.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._door.close()
        while self._pipes:
            os.close(self._pipes.popitem()[1])

    # Requests to the process ------------------------------------------------

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def _wait(
        self,
        number: int,
        printed: PrintedText,
        progress: CompileProgress,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """The answer to request `number`. Sends interrupts to the process meanwhile."""
        with HeldInterrupts() as interrupts:
            deadline = None if timeout is None else time.monotonic() + timeout
            while deadline is None or time.monotonic() < deadline:
                if interrupts.taken():
                    self._send(op="interrupt")
                answer = self._receive(number, printed, progress, _TICK, interrupts)
                if answer is not None:
                    return answer
        return {"status": "late"}

    def _receive(
        self,
        number: int,
        printed: PrintedText,
        progress: CompileProgress | None,
        timeout: int,
        interrupts: HeldInterrupts | None = None,
    ) -> dict[str, Any] | None:
        """Handles input that arrives within `timeout` milliseconds. Returns the answer
        to request `number` if it has arrived."""
        poll = select.poll()
        sources = {self._control.fileno(): "control", self._door.fileno(): "door"}
        sources |= {fd: name for name, fd in self._pipes.items()}
        for fd in sources:
            poll.register(fd, select.POLLIN)
        answer = None
        for fd, _ in poll.poll(timeout):
            name = sources[fd]
            if name == "control":
                answer = self._read_answer(number) or answer
            elif name == "door":
                self._serve_cell(interrupts)
            else:
                self._read_pipe(name, printed, progress)
        if answer is not None:
            # The cell printed all of it before it ended, so it is shown first.
            for name in [*self._pipes]:
                while self._read_pipe(name, printed, progress):
                    pass
        return answer

    def _read_answer(self, number: int) -> dict[str, Any] | None:
        data = self._control.recv(1 << 16)
        if not data:
            last = self._log.strip().rpartition("\n")[2]
            raise RustError(
                "The process that compiles Rust cells stopped"
                + (f": {last}. " if last else ". ")
                + "The next cell starts it again."
            )
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        # Late answers to earlier requests are dropped.
        answers = [a for line in lines if (a := json.loads(line))["id"] == number]
        return answers[0] if answers else None

    def _read_pipe(self, name: str, printed: PrintedText, progress: CompileProgress | None) -> bool:
        """Shows the text that has arrived through a pipe. Returns whether there was
        any."""
        try:
            data = os.read(self._pipes[name], 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            # The process is gone. `_read_answer` notices that, too, and reports it.
            os.close(self._pipes.pop(name))
            return False
        if name == "progress":
            for crate in data.decode(errors="replace").split():
                if progress is not None:
                    progress(crate)
        elif name == "log":
            self._log = (self._log + data.decode(errors="replace"))[-4096:]
        else:
            printed.write(name, data)
        return True

    # Questions of cells -----------------------------------------------------

    def _serve_cell(self, interrupts: HeldInterrupts | None) -> None:
        """Answers one question of a cell. It comes with a connection of its own."""
        _, fds, _, _ = socket.recv_fds(self._door, 16, 1)
        if not fds:
            return
        with socket.socket(fileno=fds[0]) as connection:
            text, fds = _received(connection)
            try:
                with interrupts.raised() if interrupts else contextlib.nullcontext():
                    reply, fds, kept = self._answer_cell(text.strip("\n"), fds)
            except KeyboardInterrupt:
                reply, fds, kept = "error Interrupted.", [], None
                if interrupts:
                    interrupts.pending = True
            except Exception as error:
                reply, fds, kept = f"error {error}", [], None
            # If the cell was killed meanwhile, the connection is closed.
            with contextlib.suppress(OSError):
                _send_all(connection, reply.encode(), fds)
            del kept


def _received(connection: socket.socket) -> tuple[str, list[int]]:
    """Everything that the other end sends, and the descriptors with it."""
    text, fds = b"", []
    while True:
        part, some, _, _ = socket.recv_fds(connection, 1 << 16, _MOST_FDS)
        fds += some
        if not part:
            return text.decode(), fds
        text += part


def _send_all(connection: socket.socket, data: bytes, fds: list[int]) -> None:
    """Sends all of it. Each message with descriptors carries one byte of `data`."""
    for start in range(0, max(len(fds), 1), _MOST_FDS):
        socket.send_fds(connection, [data[:1]], fds[start : start + _MOST_FDS])
        data = data[1:]
    connection.sendall(data)
