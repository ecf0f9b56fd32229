"""An S3 server that fails when a test tells it to: moto's S3 behind an HTTP server that
delays, refuses and cuts off its answers by rules that a test sets. It runs in its own
process, so that it can be killed and shares no interpreter lock with the client under
test."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import s3_server
from s3_server import CONTROL, OURS, Request, Rule

#: moto looks into it for the service, and no further.
_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=tests/20200101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)


class Fault:
    """A fault that is, or was, active."""

    def __init__(self, s3: S3, number: int):
        self._s3, self._number = s3, number

    @property
    def hits(self) -> int:
        """Number of requests that it has disturbed. If this is 0, the test has tested
        nothing."""
        return self._s3._control("hits", self._number)


class S3:
    """The server, for the duration of a `with` block. It stores nothing on disk."""

    def __enter__(self) -> S3:
        self._process = subprocess.Popen(
            [sys.executable, s3_server.__file__],
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
        # Each server has its own bucket name, because clients remember at which server
        # they found a bucket.
        self.bucket = f"slaf-tests-{self._port}"
        self._call("PUT", f"/{self.bucket}")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Ends the server at once. From now on, connections to it are refused."""
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
        """Environment variables that point the clouds' own tools, and us, to this
        server."""
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
        `error_next`, are refused with `error_status` before anything was done. For
        every `drop_every`-th, and the next `drop_next`, the request is carried out, but
        the connection is closed in the middle of the answer's body, or before the
        answer if it has no body. Errors take precedence.
        """
        rule = Rule(
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
        """All requests since the last :meth:`forget`, in the order in which they ended."""
        return [Request(*entry) for entry in self._control("log")]

    @property
    def asked(self) -> int:
        """Requests that have not been answered yet."""
        return self._control("asked")

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

    def upload(self, folder: Path, name: str) -> None:
        """Uploads all files of a folder, below `name`."""
        for path in filter(Path.is_file, folder.rglob("*")):
            self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def delete(self, prefix: str) -> None:
        """Deletes every key with this prefix."""
        for key in self.keys(prefix):
            self._call("DELETE", f"/{self.bucket}/{quote(key)}")

    def _control(self, command: str, argument: Any = None) -> Any:
        return json.loads(self._call("POST", CONTROL, json.dumps([command, argument]).encode()))

    def _call(self, method: str, path: str, body: bytes = b"") -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(method, path, body, {"Authorization": _SIGNATURE, OURS: "1"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status == 404:
            raise KeyError(path)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content!r}")
        return content
