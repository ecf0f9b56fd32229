"""moto's S3 behind an HTTP server that delays, refuses and cuts off its answers by rules
that a test sets. `s3.py` runs this file in its own process."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote

#: No bucket's name: those hold no underscores.
CONTROL = "/_control"
#: A request with it is the tests' own: it is neither counted nor disturbed.
OURS = "x-ours"


class Request(NamedTuple):
    """A request and its answer. `status` is 0 if the connection was closed without an
    answer; `sent` is the number of bytes of the body."""

    method: str
    key: str
    query: str
    range: str | None
    status: int
    sent: int


@dataclass
class Rule:
    """A fault, and the requests to which it applies. `every` counts only these."""

    latency: float
    drop_every: int
    drop_next: int
    error_every: int
    error_next: int
    error_status: int
    methods: list[str] | None
    match: str
    seen: int = 0
    hits: int = 0

    def strike(self, method: str, key: str) -> tuple[float, int, bool]:
        """The delay, the error status or 0, and whether to cut off the answer."""
        if self.match not in key or (self.methods and method not in self.methods):
            return 0.0, 0, False
        self.seen += 1
        refused = self.seen <= self.error_next or _nth(self.seen, self.error_every)
        error = self.error_status if refused else 0
        drop = not error and (self.seen <= self.drop_next or _nth(self.seen, self.drop_every))
        self.hits += bool(error or drop or self.latency)
        return self.latency, error, drop


def _nth(count: int, every: int) -> bool:
    return every > 0 and count % every == 0


class _Server(ThreadingHTTPServer):
    """moto, the active rules, and the log."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        # Here, not above: the tests need no moto in their own process.
        from moto.server import create_backend_app

        super().__init__(("127.0.0.1", 0), _Handler)
        self.moto = create_backend_app("s3")
        #: moto checks a condition and writes in two steps, S3 in one. So requests run
        #: one at a time, which costs little because of the interpreter's lock.
        self.turn = threading.Lock()
        self.rules: list[Rule] = []
        self.active: set[int] = set()
        self.log: list[Request] = []
        #: Requests that are not answered yet.
        self.asked = 0

    def strike(self, method: str, key: str) -> tuple[float, int, bool]:
        """The combined effect of all rules on a request."""
        with self.turn:
            struck = [self.rules[number].strike(method, key) for number in sorted(self.active)]
        return (
            sum(latency for latency, _, _ in struck),
            next((error for _, error, _ in struck if error), 0),
            any(drop for _, _, drop in struck),
        )

    def control(self, command: str, argument: Any) -> Any:
        with self.turn:
            if command == "add":
                self.rules.append(Rule(**argument))
                self.active.add(len(self.rules) - 1)
                return len(self.rules) - 1
            if command == "remove":
                self.active.discard(argument)
            elif command == "hits":
                return self.rules[argument].hits
            elif command == "forget":
                self.log.clear()
            elif command == "log":
                return self.log
            elif command == "asked":
                return self.asked
        return None

    @contextmanager
    def asking(self) -> Iterator[None]:
        with self.turn:
            self.asked += 1
        try:
            yield
        finally:
            with self.turn:
                self.asked -= 1

    def ask(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
        answer: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            answer.update(status=int(status.split()[0]), headers=headers)

        with self.turn:
            chunks = self.moto(environ, start)
            body = b"".join(chunks)
            if hasattr(chunks, "close"):
                chunks.close()
        return answer["status"], answer["headers"], body

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that disconnect, because the tests make them do so."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection, which is kept alive."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _answer(self) -> None:
        body = self._body()
        path, _, query = self.path.partition("?")
        if path == CONTROL:
            content = json.dumps(self.server.control(*json.loads(body))).encode()
            self._send(200, [], content)
            return
        if OURS in self.headers:
            self._send(*self.server.ask(self._environ(body)))
            return
        with self.server.asking():
            self._answer_to_others(path, query, body)

    def _answer_to_others(self, path: str, query: str, body: bytes) -> None:
        key = unquote(path).lstrip("/").partition("/")[2]
        latency, error, drop = self.server.strike(self.command, key)
        if latency:
            time.sleep(latency)
            if self._is_gone():
                self.close_connection = True
                return
        answer = _refusal(error) if error else self.server.ask(self._environ(body))
        status, headers, content = answer
        if self.command == "HEAD":
            content = b""
        sent = len(content) // 2 if drop else len(content)
        said = 0 if drop and not content else status
        entry = Request(self.command, key, query, self.headers.get("Range"), said, sent)
        # Before the answer, so that a client that has read the answer is in the log.
        with self.server.turn:
            self.server.log.append(entry)
        if drop:
            self._drop(status, headers, content)
        else:
            self._send(status, headers, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def _is_gone(self) -> bool:
        """Whether the client died before its request was complete; the request is then
        lost."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _environ(self, body: bytes) -> dict[str, Any]:
        """The request in WSGI's form."""
        path, _, query = self.path.partition("?")
        environ = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": self.path,
            "REQUEST_URI": self.path,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.server_port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        ours = {"content-type", "content-length", "transfer-encoding", OURS}
        for name in set(map(str.lower, self.headers)) - ours:
            value = ",".join(self.headers.get_all(name, []))
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        return environ

    def _head(self, status: int, headers: list[tuple[str, str]], length: int) -> None:
        self.send_response(status)
        mine = {"connection", "transfer-encoding", "date", "server"}
        if self.command != "HEAD":
            mine.add("content-length")
        for name, value in headers:
            if name.lower() not in mine:
                self.send_header(name, value)
        if self.command != "HEAD" and status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self._head(status, headers, len(content))
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _drop(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.close_connection = True
        if content:
            self._head(status, headers, len(content))
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Does nothing: the server has its own log."""


def _refusal(status: int) -> tuple[int, list[tuple[str, str]], bytes]:
    codes = {403: "AccessDenied", 429: "TooManyRequests", 500: "InternalError", 503: "SlowDown"}
    code = codes.get(status, "Error")
    text = f"<Error><Code>{code}</Code><Message>A test wants it so.</Message></Error>"
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return status, [("Content-Type", "application/xml")], content


def _serve() -> None:
    """Runs until the tests end, however they end: then standard input is closed."""
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    _serve()
