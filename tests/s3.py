"""An S3 server of our own that fails when told to, because a cloud fails only when it
wants to: moto's S3 behind an HTTP server that delays, refuses and cuts its answers by
rules that a test sets. It runs in a process of its own (this file as a script), so
that it can be killed and shares no interpreter lock with the client under test.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

#: No bucket's name: those hold no underscores.
_CONTROL = "/_control"
#: A request with it is the tests' own: it is neither counted nor disturbed.
_OURS = "x-ours"
#: moto looks into it for the service, and no further.
_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=tests/20200101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)


class Request(NamedTuple):
    """What was asked, and what was answered: `status` 0 is a connection that was closed
    without one, `sent` counts the bytes of the body."""

    method: str
    key: str
    query: str
    range: str | None
    status: int
    sent: int


@dataclass
class _Rule:
    """A fault, and the requests that it is for. `every` n-th counts these alone."""

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
        """The delay, the error status or 0, and whether to cut the answer."""
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


class Fault:
    """A fault that is, or was, in force."""

    def __init__(self, s3: S3, number: int):
        self._s3, self._number = s3, number

    @property
    def hits(self) -> int:
        """Requests that it has disturbed: a test in which there are none tests
        nothing."""
        return self._s3._control("hits", self._number)


class S3:
    """The server, from start to end of a `with`. Nothing of it is on disk."""

    bucket = "slaf-tests"

    def __enter__(self) -> S3:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout
        port = self._process.stdout.readline()
        if not port:
            self.kill()
            raise RuntimeError("the S3 server has not started: are moto[s3] and flask there?")
        self._port = int(port)
        self._call("PUT", f"/{self.bucket}")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Ends the server at once. Connections to it are refused from now on."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def url(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads the clouds' own tools, and us, here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    @contextmanager
    def faults(
        self,
        *,
        latency: float = 0.0,
        drop_every: int = 0,
        drop_next: int = 0,
        error_every: int = 0,
        error_next: int = 0,
        error_status: int = 503,
        methods: Iterable[str] | None = None,
        match: str = "",
    ) -> Iterator[Fault]:
        """Disturbs requests by one of `methods` for keys that hold `match`.

        `latency` is seconds before each. Every `error_every`-th (1: all), and the next
        `error_next`, are refused with `error_status` before anything was done. Of every
        `drop_every`-th, and of the next `drop_next`, the connection is closed in the
        middle of the answer's body, or in place of an answer that has none, and what was
        asked is done. Errors go before drops.
        """
        rule = _Rule(
            latency=latency,
            drop_every=drop_every,
            drop_next=drop_next,
            error_every=error_every,
            error_next=error_next,
            error_status=error_status,
            methods=list(methods) if methods is not None else None,
            match=match,
        )
        number = self._control("add", asdict(rule))
        try:
            yield Fault(self, number)
        finally:
            if self._process.poll() is None:
                self._control("remove", number)

    def log(self) -> list[Request]:
        """All requests since the last :meth:`forget`, in the order of their end."""
        return [Request(*entry) for entry in self._control("log")]

    def forget(self) -> None:
        self._control("forget")

    @property
    def requests(self) -> int:
        return len(self.log())

    @property
    def bytes_sent(self) -> int:
        return sum(request.sent for request in self.log())

    def keys(self, prefix: str = "") -> list[str]:
        found: list[str] = []
        while True:
            after = f"&start-after={quote(found[-1], safe='')}" if found else ""
            query = f"?list-type=2&prefix={quote(prefix, safe='')}{after}"
            page = ElementTree.fromstring(self._call("GET", f"/{self.bucket}{query}"))
            names = [e.text or "" for e in page.iterfind("{*}Contents/{*}Key")]
            found += names
            if not names:
                return found

    def get(self, key: str) -> bytes:
        return self._call("GET", f"/{self.bucket}/{quote(key)}")

    def put(self, key: str, content: bytes) -> None:
        self._call("PUT", f"/{self.bucket}/{quote(key)}", content)

    def delete(self, prefix: str) -> None:
        """Removes every key that begins so."""
        for key in self.keys(prefix):
            self._call("DELETE", f"/{self.bucket}/{quote(key)}")

    def _control(self, command: str, argument: Any = None) -> Any:
        return json.loads(self._call("POST", _CONTROL, json.dumps([command, argument]).encode()))

    def _call(self, method: str, path: str, body: bytes = b"") -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, body, {"Authorization": _SIGNATURE, _OURS: "1"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status == 404:
            raise KeyError(path)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content!r}")
        return content


class _Server(ThreadingHTTPServer):
    """moto, the rules in force, and the log."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        # Here, not above: the tests need no moto in their own process.
        from moto.server import create_backend_app

        super().__init__(("127.0.0.1", 0), _Handler)
        self.moto = create_backend_app("s3")
        #: moto meets a condition and writes in two steps, and S3 in one. So one request
        #: at a time; the interpreter would run no more of them anyway.
        self.turn = threading.Lock()
        self.rules: list[_Rule] = []
        self.active: set[int] = set()
        self.log: list[Request] = []

    def strike(self, method: str, key: str) -> tuple[float, int, bool]:
        """What all rules together do to a request."""
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
                self.rules.append(_Rule(**argument))
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
        return None

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
        """Clients that go away are what it is all about."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Requests of one connection, which is kept alive."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _answer(self) -> None:
        body = self._body()
        path, _, query = self.path.partition("?")
        if path == _CONTROL:
            content = json.dumps(self.server.control(*json.loads(body))).encode()
            self._send(200, [], content)
            return
        if _OURS in self.headers:
            self._send(*self.server.ask(self._environ(body)))
            return
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
        # Before the answer, so that who has read it finds itself in the log.
        with self.server.turn:
            self.server.log.append(entry)
        if drop:
            self._drop(status, headers, content)
        else:
            self._send(status, headers, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def _is_gone(self) -> bool:
        """Whether the client died while its request was on the way: then it is lost."""
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
        """The request as WSGI puts it."""
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
        ours = {"content-type", "content-length", "transfer-encoding", _OURS}
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
        """The log is the server's."""


def _refusal(status: int) -> tuple[int, list[tuple[str, str]], bytes]:
    codes = {403: "AccessDenied", 429: "TooManyRequests", 500: "InternalError", 503: "SlowDown"}
    code = codes.get(status, "Error")
    text = f"<Error><Code>{code}</Code><Message>A test wants it so.</Message></Error>"
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return status, [("Content-Type", "application/xml")], content


def _serve() -> None:
    """Serves until the tests end, however they do: then standard input ends."""
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    _serve()
