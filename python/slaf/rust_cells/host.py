"""The process that compiles and runs Rust cells, as Python sees it: requests,
their answers, and what happens in between."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slaf.rust_cells.errors import RustError
from slaf.rust_cells.output import Compiling, Streams

#: A request to the session and the descriptors with it; its answer.
Serve = Callable[[str, list[int]], tuple[str, list[int], Any]]

_HERE = Path(__file__).parent
_BINARY = _HERE / "bin" / "slaf-rust-cells"
#: The source of the crate that cells use as `slaf`.
_CRATE = _HERE / "crate"
#: Milliseconds between two looks for an interrupt.
_TICK = 100
#: Seconds that the process has to tidy up.
_PARTING = 3.0
#: Descriptors in one message, at most.
_MOST_FDS = 250
#: Share of the free memory that cells may allocate.
_MEMORY = 0.8


class Host:
    """One process with the state of the cells; it ends with this one."""

    def __init__(self, serve: Serve):
        self._serve = serve
        self._number = 0
        self._ready = False
        self._log = ""
        self._lines = b""
        self._control, control = socket.socketpair()
        self._door, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pipes = {name: os.pipe() for name in ("stdout", "stderr", "progress", "log")}
        self._pipes = {name: read for name, (read, _) in pipes.items()}
        inherited = {name: write for name, (_, write) in pipes.items() if name != "log"}
        inherited |= {"control": control.fileno(), "door": door.fileno()}
        #: The folder and the environment that the process was told of.
        self._world = (_folder(), _environment())
        environment = self._world[1] | _of_cells()
        environment |= {f"SLAF_CELL_{name.upper()}": str(fd) for name, fd in inherited.items()}
        try:
            self._process = subprocess.Popen(
                [_binary()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=pipes["log"][1],
                stderr=pipes["log"][1],
                pass_fds=list(inherited.values()),
                # A process group of its own: an interrupt of this one is not its end.
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
        """Whether requests are answered at once; does not wait."""
        if not self._ready:
            answer = self._hear(0, Streams(), None, timeout=0)
            self._ready = answer is not None and answer["status"] == "ok"
        return self._ready

    def start(self) -> dict[str, Any]:
        """Waits until cells can run."""
        compiling = Compiling("Rust starts; the first time, it compiles what cells share data by.")
        answer: dict[str, Any] = {"status": "ended"}
        try:
            answer = self._wait(0, Streams(), compiling)
            self._ready = answer["status"] == "ok"
        finally:
            compiling.close(self._ready)
        return answer

    def run(self, code: str) -> dict[str, Any]:
        """The answer to a cell, which runs in this process's folder and environment."""
        before, self._world = self._world, (_folder(), _environment())
        return self.request("run", code=code, change=_change(before, self._world))

    def request(self, op: str, *, timeout: float | None = None, **content: Any) -> dict[str, Any]:
        """The answer to a request, and `stderr`, the end of what it printed there;
        with a timeout in seconds, `{"status": "late"}`."""
        self._number += 1
        self._send(op=op, id=self._number, **content)
        streams, compiling = Streams(), Compiling()
        try:
            answer = self._wait(self._number, streams, compiling, timeout)
        finally:
            streams.close()
            compiling.close()
        return answer | {"stderr": streams.last_words}

    def kill(self) -> None:
        """Ends the process and all that it started."""
        # It takes this for the end, and takes its files along.
        self._control.close()
        try:
            self._process.wait(_PARTING)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._door.close()
        while self._pipes:
            os.close(self._pipes.popitem()[1])

    # Waiting ----------------------------------------------------------------

    def _wait(
        self, number: int, streams: Streams, compiling: Compiling, timeout: float | None = None
    ) -> dict[str, Any]:
        with _Interrupts() as interrupts:
            deadline = None if timeout is None else time.monotonic() + timeout
            while deadline is None or time.monotonic() < deadline:
                if interrupts.taken():
                    self._send(op="interrupt")
                answer = self._hear(number, streams, compiling, _TICK, interrupts)
                if answer is not None:
                    return answer
        return {"status": "late"}

    def _hear(
        self,
        number: int,
        streams: Streams,
        compiling: Compiling | None,
        timeout: int,
        interrupts: _Interrupts | None = None,
    ) -> dict[str, Any] | None:
        """Handles what has come; the answer to request `number`, if it is among it."""
        poll = select.poll()
        sources = {self._control.fileno(): "control", self._door.fileno(): "door"}
        sources |= {fd: name for name, fd in self._pipes.items()}
        for fd in sources:
            poll.register(fd, select.POLLIN)
        answer = None
        for fd, _ in poll.poll(timeout):
            name = sources[fd]
            if name == "control":
                answer = self._answer(number) or answer
            elif name == "door":
                self._request(interrupts)
            else:
                self._read(name, streams, compiling)
        if answer is not None:
            # All that the cell printed came before its end.
            for name in self._pipes:
                while self._read(name, streams, compiling):
                    pass
        return answer

    def _answer(self, number: int) -> dict[str, Any] | None:
        data = self._control.recv(1 << 16)
        if not data:
            last = self._log.strip().rpartition("\n")[2]
            raise RustError(
                "The process that compiles Rust cells stopped"
                + (f": {last}. " if last else ". ")
                + "The next cell starts it anew."
            )
        *lines, self._lines = (self._lines + data).split(b"\n")
        # Answers to requests that nobody waits for any more are let go.
        answers = [a for line in lines if (a := json.loads(line))["id"] == number]
        return answers[0] if answers else None

    def _read(self, name: str, streams: Streams, compiling: Compiling | None) -> bool:
        try:
            data = os.read(self._pipes[name], 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            # The process is gone, which the control socket says.
            os.close(self._pipes.pop(name))
            return False
        if name == "progress":
            for crate in data.decode(errors="replace").split() if compiling else ():
                compiling(crate)
        elif name == "log":
            self._log = (self._log + data.decode(errors="replace"))[-4096:]
        else:
            streams.write(name, data)
        return True

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._control.sendall(json.dumps(message).encode() + b"\n")

    # Requests of cells ------------------------------------------------------

    def _request(self, interrupts: _Interrupts | None) -> None:
        """Answers one question of a cell, which hands in a connection for it."""
        _, fds, _, _ = socket.recv_fds(self._door, 16, 1)
        if not fds:
            return
        with socket.socket(fileno=fds[0]) as connection:
            text, fds = _received(connection)
            try:
                with interrupts.raised() if interrupts else contextlib.nullcontext():
                    reply, fds, kept = self._serve(text.strip("\n"), fds)
            except KeyboardInterrupt:
                reply, fds, kept = "error Interrupted.", [], None
                if interrupts:
                    interrupts.pending = True
            except Exception as error:
                reply, fds, kept = f"error {error}", [], None
            # A cell that was killed meanwhile does not listen.
            with contextlib.suppress(OSError):
                first, rest = reply.encode()[:1], reply.encode()[1:]
                some, *more = [fds[i : i + _MOST_FDS] for i in range(0, len(fds), _MOST_FDS)] or [
                    []
                ]
                socket.send_fds(connection, [first], some)
                for some in more:
                    first, rest = rest[:1], rest[1:]
                    socket.send_fds(connection, [first], some)
                connection.sendall(rest)
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


class _Interrupts:
    """Takes SIGINT while a cell runs: raised anywhere, it would leave half an
    answer behind."""

    def __enter__(self) -> _Interrupts:
        self.pending = False
        self._raising = False
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _arrived(self, *_: object) -> None:
        if self._raising:
            self._raising = False
            raise KeyboardInterrupt
        self.pending = True

    def taken(self) -> bool:
        taken, self.pending = self.pending, False
        return taken

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Python code, which an interrupt is to stop."""
        self._raising = True
        try:
            yield
        finally:
            self._raising = False


def _binary() -> str:
    if not _BINARY.exists():
        raise RustError(
            "This installation has no Rust cells: `slaf-rust-cells` is missing. "
            "Install with `install/setup`."
        )
    if not os.access(_BINARY, os.X_OK):
        _BINARY.chmod(0o755)
    return str(_BINARY)


def _environment() -> dict[str, str]:
    """This process's environment, with what cells need to be compiled."""
    environment = dict(os.environ)
    cargo = Path(environment.get("CARGO_HOME", Path.home() / ".cargo")) / "bin"
    environment["PATH"] = os.pathsep.join([environment.get("PATH", ""), str(cargo)])
    for tool in ("cargo", "rustc"):
        if shutil.which(tool, path=environment["PATH"]) is None:
            raise RustError(
                f"Rust cells need a Rust toolchain, and there is no `{tool}`: install Rust 1.95 "
                "or newer from https://rustup.rs."
            )
    # Without a network, a `:dep` is to fail soon.
    environment.setdefault("CARGO_NET_RETRY", "1")
    environment.setdefault("CARGO_HTTP_TIMEOUT", "15")
    for name in ("EVCXR_IS_RUNTIME", "EVCXR_RUSTC_WRAPPER", "RUSTC_WRAPPER"):
        environment.pop(name, None)
    return environment


def _of_cells() -> dict[str, str]:
    """What only the process that compiles them is told."""
    told = {"SLAF_CELL_CRATE": str(_CRATE), "SLAF_CELL_PARENT": str(os.getpid())}
    free = _free_memory()
    if free is not None and "SLAF_CELL_MEMORY" not in os.environ:
        told["SLAF_CELL_MEMORY"] = str(int(_MEMORY * free))
    return told


def _folder() -> str | None:
    """The current folder, unless it is gone."""
    with contextlib.suppress(OSError):
        return os.getcwd()
    return None


_World = tuple[str | None, dict[str, str]]


def _change(before: _World, now: _World) -> dict[str, Any] | None:
    """What is new in `now`, or nothing. A byte is sent as a character: names of
    files and values need not be UTF-8."""

    def text(value: str) -> str:
        return os.fsencode(value).decode("latin-1")

    change: dict[str, Any] = {}
    if now[0] is not None and now[0] != before[0]:
        change["folder"] = text(now[0])
    new = {name: value for name, value in now[1].items() if before[1].get(name) != value}
    if new:
        change["set"] = {text(name): text(value) for name, value in new.items()}
    if gone := [text(name) for name in before[1] if name not in now[1]]:
        change["unset"] = gone
    return change or None


def _free_memory() -> int | None:
    """Bytes that the machine still has."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None
